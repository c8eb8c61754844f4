# The receiver in an image: `docker build -t openfinops-otel-exporter .`
#
#   docker run -p 127.0.0.1:4317:4317 -v openfinops-data:/data openfinops-otel-exporter
#
# keeps data in SQLite, in the volume. docker-compose.yml runs it beside TimescaleDB.

FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
RUN python -m venv /opt/openfinops && /opt/openfinops/bin/pip install --no-cache-dir .

FROM python:3.11-slim-bookworm
COPY --from=build /opt/openfinops /opt/openfinops
ENV PATH=/opt/openfinops/bin:$PATH
# By number, so that Kubernetes can see (runAsNonRoot) that it is not root.
RUN useradd --system --uid 10001 --no-create-home --home-dir /data openfinops \
    && install --directory --owner=openfinops --mode=0700 /data
USER 10001
# Where files named without a folder are kept, such as the default openfinops_telemetry.db.
WORKDIR /data
VOLUME /data

# Inside a container localhost is nobody else's; who can reach the port is decided outside.
ENV OPENFINOPS_ENDPOINT=0.0.0.0:4317
EXPOSE 4317

# Whether it takes requests, not only whether the port is open. It takes 0.6 s of CPU each time.
# With TLS in a mounted configuration add --config and its path.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["openfinops-exporter", "health"]

# Without a shell in between, so that SIGTERM reaches the program, which then writes what it has.
ENTRYPOINT ["openfinops-exporter"]
CMD ["serve"]
