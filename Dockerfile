# The receiver in an image: `docker build -t openfinops-otel-exporter .`
#
#   docker run -p 127.0.0.1:4317:4317 -v openfinops-data:/data openfinops-otel-exporter
#
# This stores data in SQLite, in the volume. docker-compose.yml runs it beside TimescaleDB.

FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
RUN python -m venv /opt/openfinops && /opt/openfinops/bin/pip install --no-cache-dir .

FROM python:3.11-slim-bookworm
COPY --from=build /opt/openfinops /opt/openfinops
ENV PATH=/opt/openfinops/bin:$PATH
# A number, so that Kubernetes can verify that the user is not root (runAsNonRoot).
RUN useradd --system --uid 10001 --no-create-home --home-dir /data openfinops \
    && install --directory --owner=openfinops --mode=0700 /data
USER 10001
# Relative paths, such as the default openfinops_telemetry.db, are in the volume.
WORKDIR /data
VOLUME /data

# Only the container itself can reach its localhost. Who may reach the port is decided outside.
ENV OPENFINOPS_ENDPOINT=0.0.0.0:4317
EXPOSE 4317

# Checks that the receiver accepts requests, not only that the port is open. Each check takes 0.6 s
# of CPU. With TLS in a mounted configuration add --config and its path.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["openfinops-exporter", "health"]

# Without a shell, so that SIGTERM reaches the program, which then writes accepted data.
ENTRYPOINT ["openfinops-exporter"]
CMD ["serve"]
