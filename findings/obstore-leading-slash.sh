#!/bin/sh
# obstore lists an S3 object whose key begins with `/` under the key of another one, and so gives the other one's bytes for both.
#
# The guess: a key is any UTF-8 text of up to 1,024 bytes (Amazon S3 User Guide, "Naming Amazon S3 objects"), `/` has no meaning of
#   its own, and "/x.dcm" and "x.dcm" are two objects. What a list names can be got by that name.
# What was seen (obstore 0.12.1, which is Rust's object_store 0.14.2, and moto 5.2.5 as the server): both are listed as "x.dcm", and getting
#   what was listed gives the second one twice. Where only "/x.dcm" is there, it is listed as "x.dcm" and then not found. Nothing is said.
#   For a key with an empty part in its middle, a part `.` or `..`, or a control character the whole page of the list fails instead.
# Why it hurts: programs that put a folder and a name together with one slash too many write such keys all the time. A copy of a bucket that
#   is made by such a list has one object twice and the other one not at all.
# The way around: list by another client (botocore gives each key as it is), and get what obstore cannot name by a signed address.
set -eu
folder=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
server=
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check obstore==0.12.1 'moto[server]==5.2.5'
"$folder/venv/bin/python" -m moto.server -H 127.0.0.1 -p 5987 >"$folder/log" 2>&1 &
server=$!
sleep 5
"$folder/venv/bin/python" - <<'EOF2'
import botocore.session
from obstore.store import S3Store

address = "http://127.0.0.1:5987"
keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
s3 = botocore.session.get_session().create_client("s3", endpoint_url=address, **keys)
s3.create_bucket(Bucket="xrays")
s3.put_object(Bucket="xrays", Key="/x.dcm", Body=b"first")
s3.put_object(Bucket="xrays", Key="x.dcm", Body=b"second")
store = S3Store(
    "xrays", endpoint=address, access_key_id="a", secret_access_key="b", region="us-east-1",
    client_options={"allow_http": True},
)
there = [(one["Key"], one["Size"]) for one in s3.list_objects_v2(Bucket="xrays")["Contents"]]
got = [(one["path"], one["size"], bytes(store.get(one["path"]).bytes())) for one in store.list().collect()]
print("expected:", there)
print("listed, and what getting it gives:", got)
raise SystemExit(0 if [name for name, *_ in got] == ["x.dcm", "x.dcm"] else "changed: listed otherwise")
EOF2
