import time

from flask import Flask, jsonify, redirect, request, session

app = Flask(__name__)
app.secret_key = "only a test"
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@app.route("/echo/<path:path>", methods=METHODS)
def echo(path):
    return jsonify(method=request.method, path=path, query=request.args.to_dict(flat=False),
                   colour=request.headers.get("x-colour"), body=request.get_data(as_text=True))


@app.post("/form")
def form():
    file = request.files.get("file")
    return jsonify(name=request.form.get("name"), file=[file.filename, len(file.read())] if file else None)


@app.post("/login")
def login():
    session["name"] = request.form["name"]
    return redirect("me")


@app.get("/me")
def me():
    return jsonify(name=session.get("name"))


@app.get("/stream")
def stream():
    def lines():
        for number in range(3):
            yield f"line {number}\n"
            time.sleep(0.25)
    return lines(), {"content-type": "text/plain"}


@app.get("/boom")
def boom():
    raise RuntimeError("this page is broken")
