import os

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
os.environ["DJANGO_SUPERUSER_PASSWORD"] = "correct horse"
application = get_wsgi_application()
call_command("migrate", verbosity=0, interactive=False)
call_command("createsuperuser", username="ada", email="ada@example.com", interactive=False)
