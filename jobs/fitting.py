"""Whether a target's columns can hold what a run would write to them."""

from collections.abc import Iterator

from pyspark.sql import types as T


def misfits(there: T.DataType, now: T.DataType, where: str) -> Iterator[str]:
    """Give what is of another type in a table than it is now; `where` names the place.

    Fields that only one of them has are no misfits: Delta adds them, or leaves them null.
    """
    if isinstance(there, T.StructType) and isinstance(now, T.StructType):
        known = {field.name.lower(): field.dataType for field in there.fields}
        for field in now.fields:
            if found := known.get(field.name.lower()):
                yield from misfits(found, field.dataType, f"{where}.{field.name}".strip("."))
    elif isinstance(there, T.ArrayType) and isinstance(now, T.ArrayType):
        yield from misfits(there.elementType, now.elementType, f"{where}[]")
    elif isinstance(there, T.MapType) and isinstance(now, T.MapType):
        yield from misfits(there.keyType, now.keyType, f"{where} (keys)")
        yield from misfits(there.valueType, now.valueType, f"{where}[]")
    elif there != now:
        yield f"{where}: {there.simpleString()} there, {now.simpleString()} now"
