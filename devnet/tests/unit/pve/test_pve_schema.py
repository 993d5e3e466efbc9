"""Texts for parameters that a schema refuses, and what becomes of those it takes."""

import pytest

from pve402_devnet.pve import errors, formats, guest_schema, schema
from pve402_devnet.pve.schema import Property

NAMED = {"vmid": Property(type="integer", format="pve-vmid")}


def problems(values: dict[str, object], properties: schema.Properties) -> dict[str, str]:
    with pytest.raises(errors.ParameterErrors) as refused:
        schema.validate(values, properties)
    return refused.value.errors


@pytest.mark.parametrize(
    ("definition", "value", "text"),
    [
        (Property(), None, "property is missing and it is not optional"),
        (Property(), ["a", "b"], "type check ('string') failed - got ARRAY"),
        (Property(), {"a": 1}, "type check ('string') failed - got HASH"),
        (Property(type="integer"), "1.5", "type check ('integer') failed - got '1.5'"),
        (Property(type="integer"), True, "type check ('integer') failed - got JSON::PP::Boolean"),
        (Property(type="number"), "half", "type check ('number') failed - got 'half'"),
        (Property(type="boolean"), "true", "type check ('boolean') failed - got 'true'"),
        (Property(type="boolean"), "", "type check ('boolean') failed - got ''"),
        (Property(type="integer", minimum=16), "8", "value must have a minimum value of 16"),
        (Property(type="integer", maximum=4), "5", "value must have a maximum value of 4"),
        (Property(max_length=2), "abc", "value may only be 2 characters long"),
        (Property(min_length=5), "abc", "value must be at least 5 characters long"),
        (Property(pattern=r"\d+"), "x", "value does not match the regex pattern"),
        (
            Property(enum=("a", "b")),
            "c",
            "value 'c' does not have a value in the enumeration 'a, b'",
        ),
        (
            Property(format="dns-name"),
            "a_b",
            "invalid format - value does not look like a valid DNS name\n",
        ),
    ],
)
def test_a_bad_value_is_named_in_proxmox_words(
    definition: Property, value: object, text: str
) -> None:
    assert problems({"field": value}, {"field": definition}) == {"field": text}


def test_every_bad_parameter_is_named_at_once() -> None:
    found = problems({"bogus": 1, "vmid": "99"}, {**NAMED, "name": Property()})

    assert found == {
        "bogus": schema.UNKNOWN_PROPERTY,
        "vmid": "invalid format - value does not look like a valid VM ID\n",
        "name": schema.MISSING_PROPERTY,
    }


def test_a_parameter_may_require_another() -> None:
    properties = {"unique": Property(requires="restore"), "restore": Property(optional=True)}

    assert problems({"unique": "1"}, properties) == {
        "restore": "missing property required by 'unique'"
    }


@pytest.mark.parametrize(
    ("definition", "value", "clean"),
    [
        (Property(type="integer"), "0012", 12),
        (Property(type="boolean"), "1", 1),
        (Property(type="boolean"), True, 1),
        (Property(type="number"), "0.5", "0.5"),
        (Property(), 7, "7"),
        (Property(format="pve-tag-list"), ["one", "two"], "one,two"),
    ],
)
def test_good_values_come_out_typed(definition: Property, value: object, clean: str | int) -> None:
    assert schema.validate({"field": value}, {"field": definition}) == {"field": clean}


def test_errors_inside_a_property_string_name_the_key() -> None:
    found = problems({"net0": "bridge=no such,bogus=1"}, {"net0": _NET})

    assert found["net0"] == (
        "invalid format - format error\n"
        f"net0.bogus: {schema.UNKNOWN_PROPERTY}\n"
        "net0.bridge: value does not match the regex pattern\n"
        "net0.name: property is missing and it is not optional\n"
    )


_NET = Property(parts=guest_schema.NETWORK)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("eth0", "value without key, but schema does not define a default key\n"),
        ("name=a,name=b", "duplicate key in comma-separated list property: name\n"),
        ("name=", "missing key in comma-separated list property\n"),
    ],
)
def test_a_malformed_property_string(text: str, problem: str) -> None:
    with pytest.raises(formats.FormatError) as refused:
        schema.parse_property_string(text, guest_schema.NETWORK)

    assert str(refused.value) == problem


def test_a_property_string_is_written_in_a_fixed_order() -> None:
    parsed = schema.parse_property_string("mp=/data,ro=yes,local:1", guest_schema.MOUNT_POINT)

    assert schema.print_property_string(parsed, guest_schema.MOUNT_POINT) == "local:1,mp=/data,ro=1"
