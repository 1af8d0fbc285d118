"""A site in Flask: nothing of it is there for Fractus. `app` in `app.py` is found by its name, and
the packages of `requirements.txt` are installed when it is deployed.

    fractus deploy examples/flask
    curl http://127.0.0.1:8080/run/flask/
"""

from flask import Flask, jsonify, render_template_string, request, url_for

app = Flask(__name__)

PAGE = """<!doctype html>
<title>Fractus and Flask</title>
<h1>Hello, {{ name }}!</h1>
<form action="{{ url_for('page') }}">
  <input name="name" placeholder="Your name"><button>Greet me</button>
</form>
<p>As data: <a href="{{ url_for('greeting', name=name) }}">{{ url_for('greeting', name=name) }}</a>
"""


@app.get("/")
def page():
    return render_template_string(PAGE, name=request.args.get("name") or "you")


@app.get("/api/greetings/<name>")
def greeting(name):
    return jsonify(greeting=f"Hello, {name}!", page=url_for("page", _external=True))
