"""Prints what Alembic would change in a database that has just the application's table: one line
for each change. Arguments: a database URL, and the file with the part of env.py that a page shows,
or nothing for the tool's defaults."""
import sys

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Integer, MetaData, Table, create_engine

options = {}
if len(sys.argv) > 2:
    with open(sys.argv[2]) as page:
        names = {}
        exec(page.read(), names)
    options = {"include_schemas": True, "include_name": names["include_name"]}

metadata = MetaData()
Table("orders", metadata, Column("id", Integer, primary_key=True))
with create_engine(sys.argv[1]).connect() as connection:
    context = MigrationContext.configure(connection, opts=options)
    for change in compare_metadata(context, metadata):
        print(change)
