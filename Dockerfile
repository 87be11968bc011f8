# One image for every process; the command says which flow or lane it runs.

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
# Whoever runs the image can't write bytecode: without it here each start would compile everything.
ENV UV_COMPILE_BYTECODE=1
COPY requirements requirements
RUN requirements/install /opt/tidings run
COPY pyproject.toml README.md LICENSE ./
COPY tidings tidings
COPY operators operators
COPY flows flows
COPY config config
RUN uv=/opt/tidings/bin/uv python=/opt/tidings/bin/python; \
    $uv build --wheel --no-build-isolation --python $python --out-dir dist \
 && $uv pip install --python $python --no-deps dist/*.whl \
 && pip --python $python uninstall --yes uv hatchling

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /srv/tidings tidings \
 && install --directory --owner=tidings /srv/tidings/data
COPY --from=build /opt/tidings /opt/tidings
WORKDIR /srv/tidings
COPY flows flows
COPY config config
ENV PATH=/opt/tidings/bin:$PATH PYTHONUNBUFFERED=1
USER tidings
ENTRYPOINT ["tidings"]
