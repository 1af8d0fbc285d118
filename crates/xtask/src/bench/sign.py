"""Signs requests with AWS Signature Version 4 for the service `lambda`, by the standard library
alone and as botocore does it.

    python3 sign.py CREDENTIALS HOST

CREDENTIALS is the file of that name in a node's data directory, HOST what is asked. Each line of
standard input is a request: a JSON object with its `method`, its `target` (path and query, encoded),
its `headers` (an object) and its `body` (text). For each there is a line of standard output: a JSON
list of the lines of its head, the first one and the length of its body left out.
"""

import datetime
import hashlib
import hmac
import json
import sys
import urllib.parse

ALGORITHM = "AWS4-HMAC-SHA256"


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def signing_key(secret, scope):
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


class Signer:
    def __init__(self, credentials, host):
        self.key_id = credentials["access_key_id"]
        self.secret = credentials["secret_access_key"]
        self.region = credentials["region"]
        self.host = host

    def head(self, request):
        """The lines of a request's head, its signature among them."""
        time = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        fields = {"host": self.host, "x-amz-date": time}
        fields |= {name.lower(): value for name, value in request["headers"].items()}
        names = ";".join(sorted(fields))
        path, _, query = request["target"].partition("?")
        parameters = (pair.partition("=") for pair in query.split("&") if pair)
        canonical = [
            request["method"],
            # Once more than it is encoded already.
            urllib.parse.quote(path, safe="/-_.~"),
            "&".join(sorted(f"{name}={value}" for name, _, value in parameters)),
            *(f"{name}:{value}" for name, value in sorted(fields.items())),
            "",
            names,
            sha256(request["body"]),
        ]
        scope = f"{time[:8]}/{self.region}/lambda/aws4_request"
        signed = "\n".join([ALGORITHM, time, scope, sha256("\n".join(canonical))])
        key = signing_key(self.secret, scope)
        signature = hmac.new(key, signed.encode(), hashlib.sha256).hexdigest()
        fields["authorization"] = (
            f"{ALGORITHM} Credential={self.key_id}/{scope}, SignedHeaders={names}, "
            f"Signature={signature}"
        )
        return [f"{name}: {value}" for name, value in fields.items()]


def main():
    path, host = sys.argv[1:]
    with open(path) as file:
        signer = Signer(json.load(file), host)
    for line in sys.stdin:
        print(json.dumps(signer.head(json.loads(line))), flush=True)


main()
