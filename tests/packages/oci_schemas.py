"""oci_schemas.py LAYOUT: checks the files of an OCI image layout against the schemas of OCI, which
come with Debian's package golang-github-opencontainers-image-spec-dev.
"""

import json
import pathlib
import sys

import jsonschema
from referencing import Registry
from referencing.jsonschema import DRAFT4

SCHEMAS = pathlib.Path("/usr/share/gocode/src/github.com/opencontainers/image-spec/schema")
layout = pathlib.Path(sys.argv[1])


def schema(name):
    return DRAFT4.create_resource(json.loads((SCHEMAS / name).read_text()))


def blob(descriptor):
    return layout / "blobs" / descriptor["digest"].replace(":", "/")


def check(path, name):
    contents = json.loads(path.read_text())
    # Their references name files, or ids from the schema's own.
    registry = Registry(retrieve=lambda uri: schema(uri.rpartition("/")[2]))
    validator = jsonschema.Draft4Validator(schema(name).contents, registry=registry)
    errors = list(validator.iter_errors(contents))
    for error in errors:
        print(f"{path}: {error.json_path}: {error.message}", file=sys.stderr)
    if errors:
        sys.exit(1)
    return contents


check(layout / "oci-layout", "image-layout-schema.json")
for manifest in check(layout / "index.json", "image-index-schema.json")["manifests"]:
    check(blob(check(blob(manifest), "image-manifest-schema.json")["config"]), "config-schema.json")
