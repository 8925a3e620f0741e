"""The Dockerfile of an image with one package baked in: its text, made of what `mdai-model build` found out.

The layers, from what changes least to what changes most: the server's image, the model's environment, the package's
large files, its code. Secrets reach the one step that downloads, and nothing of them stays.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

DEFAULT_PYTHON_37 = "python:3.7-slim"
"""uv has no Python 3.7 to download; the last images of that name are Debian 12's, with 3.7.17."""

_HEADING = """\
# Written by `mdai-model build`: a package and its environment over the server's image.
# Its context is the folder that `mdai-model build PACKAGE --context DIR` writes, this file included:
#   environment/  what decides what is installed: requirements, locks, config.yaml, wheels of the package's own
#   large/        the package's large files, where it has some
#   package/      everything else of it, its code above all: a change there copies this folder anew and does no more
#   export/       what a platform export says of the model, where it is one"""

_PYTHON_STAGE = """\
# The model's Python comes from an image: all of it lies below /usr/local and finds itself wherever it is copied.
ARG PYTHON_IMAGE={image}
FROM ${{PYTHON_IMAGE}} AS python"""

_PYTHON_COPY = """\
COPY --from=python /usr/local /opt/model/python{series}
# Libraries of the system that this Python misses in the server's image show now and not in the middle of a predict.
RUN /opt/model/python{series}/bin/python{series} -c "import bz2, ctypes, lzma, pyexpat, sqlite3, ssl, zlib"
ENV PATH=${{PATH}}:/opt/model/python{series}/bin"""

_ENVIRONMENT_STAGE = """\
FROM ${{SERVER_IMAGE}} AS environment
# Not the image's user, which stays the server's: only of this stage.
# hadolint ignore=DL3002
USER 0:0
WORKDIR /opt/model
{python_copy}# What has no wheel is built here; neither a compiler nor git gets into the image.
ARG BUILD_PACKAGES=""
# hadolint ignore=DL3008,SC2086
RUN if [ -n "${{BUILD_PACKAGES}}" ]; then apt-get update -qq \\
    && apt-get install -y -qq --no-install-recommends ${{BUILD_PACKAGES}} && rm -rf /var/lib/apt/lists/*; fi
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \\
    UV_CACHE_DIR=/tmp/uv \\
    UV_PYTHON_INSTALL_DIR=/opt/model/python
COPY environment /model
# The server finds the environment under a name that does not depend on its content, and any user may read it. What
# the model downloads goes where a volume may be mounted.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \\
    --mount=type=secret,id=certificates,target=/etc/ssl/certs/ca-certificates.crt \\
    {command} \\
    && rm -rf /tmp/uv \\
    && ln -s cache/environments/*/build-*/venv environment \\
    && ln -s /var/cache/mdai-model/homes cache/homes \\
    && chmod -R a+rX /opt/model"""

_FINAL_STAGE = """\
FROM ${{SERVER_IMAGE}}
COPY --from=environment /opt/model /opt/model
# The environment is one that is there: nothing is built, downloaded or written when the service starts.
ENV MDAI_MODEL_CACHE_DIR=/opt/model/cache \\
    MDAI_MODEL_ENVIRONMENT=/opt/model/environment \\
    UV_NO_CACHE=1
CMD ["serve", "/model"]
{copies}
LABEL {labels}
"""


@dataclass(frozen=True)
class ImageRecipe:
    """What decides the text.

    Attributes:
        server_image: the image that this one extends; `mdai-model build --from`
        series: the model's Python, as ``3.7``
        python_image: the image that this Python is taken from; None where the server's image or uv has it
        environment_options: words for ``mdai-model env``, which makes the environment
        has_large: whether the context has a folder `large`
        version: of the package in a platform export; None for a plain package
        labels: of the image, by name
    """

    server_image: str
    series: str
    python_image: str | None = None
    environment_options: Sequence[str] = ()
    has_large: bool = False
    version: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def dockerfile(recipe: ImageRecipe) -> str:
    """Return the Dockerfile's text."""
    words = ["/opt/server/bin/mdai-model", "env", "/model", "--cache-dir", "/opt/model/cache"]
    command = " ".join([*words, *map(shlex.quote, recipe.environment_options)])
    python_copy = f"{_PYTHON_COPY.format(series=recipe.series)}\n" if recipe.python_image else ""
    place = "/model" if recipe.version is None else f"/model/source/v{recipe.version}"
    copies = [*([f"COPY large {place}"] if recipe.has_large else []), f"COPY package {place}"]
    if recipe.version is not None:
        copies.append("COPY export /model")
    labels = [f"{name}={_quoted(value)}" for name, value in recipe.labels.items()]
    stages = [
        f"{_HEADING}\nARG SERVER_IMAGE={recipe.server_image}",
        *([_PYTHON_STAGE.format(image=recipe.python_image)] if recipe.python_image else []),
        _ENVIRONMENT_STAGE.format(python_copy=python_copy, command=command),
        _FINAL_STAGE.format(copies="\n".join(copies), labels=" \\\n      ".join(labels)),
    ]
    return "\n\n".join(stages)


def _quoted(text: str) -> str:
    """Return a text so that a Dockerfile means just that by it; it has one line."""
    escaped = "".join(f"\\{character}" if character in '\\"$' else character for character in text)
    return f'"{" ".join(escaped.split())}"'
