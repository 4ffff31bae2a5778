# syntax=docker/dockerfile:1
# Parley on a CPU. Build: docker build -t parley .   Run:
#   docker run --rm -p 7860:7860 -e PARLEY_AUTH__TOKEN=... -v parley-data:/data parley
# WebRTC needs the container's UDP ports to be reachable: add --network host, or the page falls back to the WebSocket.

FROM node:22-slim AS page
WORKDIR /build
COPY web/client/package.json ./
RUN npm install --no-package-lock --no-audit --no-fund
COPY web/client/ ./
RUN npm run build

FROM python:3.11-slim AS wheel
WORKDIR /build
COPY pyproject.toml README.md LICENSE NOTICE run_agent.py ./
COPY requirements/ requirements/
COPY configs/ configs/
COPY agent/ agent/
COPY engines/ engines/
COPY pipeline/ pipeline/
COPY web/ web/
COPY --from=page /build/dist web/client/dist
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 \
    PARLEY_DATA_DIR=/data \
    PARLEY_SERVER__HOST=0.0.0.0 \
    PARLEY_LOG__FORMAT=json
# Pins first: this layer stays while only Parley changes.
COPY requirements/base.txt /tmp/base.txt
RUN pip install --no-cache-dir -r /tmp/base.txt
COPY --from=wheel /wheels/ /tmp/wheels/
RUN pip install --no-cache-dir --no-deps /tmp/wheels/*.whl \
    && rm -r /tmp/wheels /tmp/base.txt \
    && groupadd --system --gid 10001 parley \
    && useradd --system --uid 10001 --gid parley --no-create-home parley \
    && install -d -o parley -g parley -m 700 /data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 7860
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=40s \
    CMD ["python", "-m", "web.cli.health"]
ENTRYPOINT ["parley"]
CMD ["serve"]
