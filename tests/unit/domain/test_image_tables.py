"""Images of the catalogue: what is read, what is refused with its place."""

import pytest
from tests.unit.domain.test_catalogue import GOOD, SHIPPED

from pve402.domain import catalogue, errors

DEBIAN = "local:vztmpl/debian-12-standard_12.12-1_amd64.tar.zst"
IMAGE = f'''
[image.debian-12]
template = "{DEBIAN}"
os = "Debian 12"
description = "A small Debian"
'''
SLIM = "local:vztmpl/oci-python_3.13-slim-0123456789ab.tar"
OCI = '[image.slim]\noci = "docker.io/library/python:3.13-slim"'


def sold(more: str, image: str = IMAGE) -> catalogue.Catalogue:
    """A catalogue with an image, and more lines for its sku."""
    return catalogue.parse(f"{GOOD}\n{more}\n{image}")


def test_a_sku_sells_an_image_by_its_name():
    found = sold('images = ["debian-12"]').with_template("local:vztmpl/usual.tar.zst")

    sku = found.sku("standard-lxc")
    (image,) = found.images_on_sale
    assert sku.template_volume("debian-12", "") == sku.template_volume(None, "") == DEBIAN
    assert (image.name, image.os, image.description) == (
        "debian-12",
        "Debian 12",
        "A small Debian",
    )
    with pytest.raises(errors.UnknownTemplate):
        sku.template_volume(DEBIAN, "")


def test_an_oci_image_is_a_file_by_our_name():
    found = sold('images = ["slim"]', f'{OCI}\nstorage = "files"')

    (image,) = found.images_on_sale
    assert image.reference is not None
    assert image.reference.tag == "3.13-slim"
    assert image.template == f"files:vztmpl/{image.reference.file_name}"
    assert found.sku("standard-lxc").template_volume("slim", "") == image.template


def test_two_references_never_have_one_file():
    one, other = (
        sold('images = ["slim"]', OCI.replace("docker.io", host)).images["slim"].template
        for host in ("docker.io", "quay.io")
    )

    assert one != other


def test_an_image_that_no_sku_lists_is_not_on_sale():
    found = sold("")

    assert found.images_on_sale == []
    with pytest.raises(errors.UnknownTemplate):
        found.sku("standard-lxc").template_volume("debian-12", "")


def test_templates_come_before_images():
    own = "local:vztmpl/own.tar.zst"

    found = sold(f'templates = {{ own = "{own}" }}\nimages = ["debian-12"]')

    sku = found.sku("standard-lxc")
    assert list(sku.templates.items()) == [("own", own), ("debian-12", DEBIAN)]
    assert sku.template_volume(None, "") == own


@pytest.mark.parametrize(
    ("more", "image", "place"),
    [
        ('images = ["other"]', IMAGE, r"sku.standard-lxc.images: there is no \[image.other\]"),
        ('images = ["debian-12", "debian-12"]', IMAGE, "twice"),
        ('images = "debian-12"', IMAGE, "list of names"),
        ("images = [1]", IMAGE, "list of names"),
        ('images = ["debian-12"]\ntemplates = { debian-12 = "x" }', IMAGE, "both"),
        ("", "[image]\nx = 1", "image.x: must be a table"),
        ("", "[image.x]", "image.x.template"),
        ("", "[image.x]\ntemplate = 1", "image.x.template"),
        ("", IMAGE + "size = 1", "unknown key 'size'"),
        ("", '[image.x]\noci = "alpine:3"', "image.x.oci: names no registry"),
        ("", "[image.x]\noci = 1", "image.x.oci: must be an image as"),
        ("", f'{OCI}\ntemplate = "x"', "image.slim: has both"),
        ("", f'{OCI}\nstorage = "a/b"', "image.slim.storage"),
        ("", f'{OCI}\nstorage = "{"a" * 101}"', "image.slim.storage"),
        ("", '[image.x]\ntemplate = "x"\nstorage = "local"', "image.x.storage: is for OCI"),
        ("", f'[image.x]\ntemplate = "{SLIM}"', "image.x.template: is the file of an OCI image"),
        ("", '[image."a b"]\ntemplate = "x"', "a name has"),
        ("", f'[image.{"a" * 64}]\ntemplate = "x"', "a name has"),
        ("", IMAGE.replace("Debian 12", "D" * 65), "image.debian-12.os"),
        ("", IMAGE.replace("A small", "A\\nsmall"), "image.debian-12.description"),
        ("", "".join(f'[image.i{n}]\ntemplate = "x"\n' for n in range(65)), "at most 64"),
    ],
)
def test_a_wrong_image_is_refused_with_its_place(more: str, image: str, place: str):
    with pytest.raises(catalogue.CatalogueError, match=place):
        sold(more, image)


def test_the_shipped_catalogue_has_no_images():
    assert catalogue.parse(SHIPPED).images == {}
