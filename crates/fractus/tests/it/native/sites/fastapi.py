import asyncio
from typing import Annotated

from fastapi import Cookie, FastAPI, File, Form, Request, UploadFile
from fastapi.responses import RedirectResponse, StreamingResponse
from pydantic import BaseModel

app = FastAPI()
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@app.api_route("/echo/{path:path}", methods=METHODS)
async def echo(path: str, request: Request):
    query = {key: request.query_params.getlist(key) for key in request.query_params}
    return {"method": request.method, "path": path, "query": query,
            "colour": request.headers.get("x-colour"), "body": (await request.body()).decode()}


@app.post("/form")
async def form(name: Annotated[str | None, Form()] = None,
               file: Annotated[UploadFile | None, File()] = None):
    return {"name": name, "file": [file.filename, len(await file.read())] if file else None}


@app.post("/login")
def login(name: Annotated[str, Form()]):
    answer = RedirectResponse("me", status_code=302)
    answer.set_cookie("name", name, httponly=True)
    return answer


@app.get("/me")
def me(name: Annotated[str | None, Cookie()] = None):
    return {"name": name}


@app.get("/stream")
async def stream():
    async def lines():
        for number in range(3):
            yield f"line {number}\n"
            await asyncio.sleep(0.25)
    return StreamingResponse(lines(), media_type="text/plain")


@app.get("/boom")
async def boom():
    raise RuntimeError("this page is broken")


class Item(BaseModel):
    name: str
    price: float


@app.post("/items")
def items(item: Item):
    return {"sum": item.price * 2}
