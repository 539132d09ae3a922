# `serve` on a CPU, with the model inside the package:
#
#   docker build -t neurogaze_fast .
#   docker run --rm --read-only -p 127.0.0.1:8000:8000 -e NEUROGAZE_TOKEN neurogaze_fast
#
# The lock files are for CPython 3.11 on Linux x86_64: build with --platform linux/amd64 elsewhere.
ARG PYTHON=3.11.13-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
# Packages first: they change less often than the code. The environment has no pip of its own.
COPY requirements requirements
RUN python requirements/image.py build > build.txt \
    && python requirements/image.py serve > serve.txt \
    && pip install --require-hashes --no-deps --only-binary :all: -r build.txt \
    && python -m venv --without-pip /opt/neurogaze_fast \
    && pip --python /opt/neurogaze_fast/bin/python install \
        --require-hashes --no-deps --only-binary :all: -r serve.txt
COPY pyproject.toml setup.py README.md LICENSE ./
COPY neurogaze_fast neurogaze_fast
# Serving uses none of the native operators, which are for training.
RUN NEUROGAZE_BUILD_NATIVE=0 pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/neurogaze_fast/bin/python install --no-deps --no-index dist/*.whl

FROM python:${PYTHON}
COPY --from=build /opt/neurogaze_fast /opt/neurogaze_fast
ENV PATH=/opt/neurogaze_fast/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]
# Other machines reach it, so it ends at once where there is no token in NEUROGAZE_TOKEN.
ENTRYPOINT ["python", "-m", "neurogaze_fast.serve"]
CMD ["--host", "0.0.0.0"]
