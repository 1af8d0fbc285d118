import time

from django.contrib import admin
from django.http import HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST


@csrf_exempt
def echo(request, path):
    return JsonResponse({
        "method": request.method, "path": path, "query": dict(request.GET.lists()),
        "colour": request.headers.get("x-colour"), "body": request.body.decode()})


@csrf_exempt
@require_POST
def form(request):
    file = request.FILES.get("file")
    return JsonResponse({"name": request.POST.get("name"),
                         "file": [file.name, file.size] if file else None})


@csrf_exempt
@require_POST
def login(request):
    request.session["name"] = request.POST["name"]
    return HttpResponseRedirect("me")


@require_GET
def me(request):
    return JsonResponse({"name": request.session.get("name")})


@require_GET
def stream(request):
    def lines():
        for number in range(3):
            yield f"line {number}\n"
            time.sleep(0.25)
    return StreamingHttpResponse(lines(), content_type="text/plain")


@require_GET
def boom(request):
    raise RuntimeError("this page is broken")


urlpatterns = [
    path("admin/", admin.site.urls),
    path("echo/<path:path>", echo),
    path("form", form),
    path("login", login),
    path("me", me),
    path("stream", stream),
    path("boom", boom),
]
