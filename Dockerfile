# A Perdure worker. Build: docker build -t perdure . ; configure with PERDURE_* variables.
FROM python:3.12-slim AS build
RUN pip install --no-cache-dir "uv>=0.9,<1"
WORKDIR /src
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PROJECT_ENVIRONMENT=/opt/perdure
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --locked --all-extras --no-dev --no-install-project --python /usr/local/bin/python3
COPY workflows workflows
COPY activities activities
COPY worker worker
COPY client client
RUN uv sync --locked --all-extras --no-dev --no-editable --python /usr/local/bin/python3

FROM python:3.12-slim
# bubblewrap: the sandbox of code nodes that need CPython.
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 perdure \
    && install --directory --owner perdure /data
COPY --from=build /opt/perdure /opt/perdure
ENV PATH=/opt/perdure/bin:$PATH PYTHONUNBUFFERED=1 PERDURE_LOG_FORMAT=json PERDURE_LOG_LEVEL=info
USER perdure
WORKDIR /home/perdure
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "perdure_worker.main"]
CMD ["--smoke"]
