# syntax=docker/dockerfile:1
# Parley in one image. Build:   docker build -t parley .
# For a machine with an NVIDIA GPU: docker build --build-arg CUDA=12.8 -t parley .   (the least CUDA that its driver must know)
# docs/docker.md says how to run it: WebRTC needs more than a published port.
ARG CUDA=

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

FROM python:3.11-slim AS base
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
# It asks /health of the server that the same variables describe, so it follows another port or https.
HEALTHCHECK --interval=15s --timeout=5s --start-period=40s \
    CMD ["python", "-m", "web.cli.health"]
ENTRYPOINT ["parley"]
CMD ["serve"]

# The driver and nvidia-smi come from the host when the container starts; CUDA's libraries come with the Python packages that
# use them. So nothing is installed here: the image only says what it asks of the host.
FROM base AS base-cuda
ARG CUDA
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_REQUIRE_CUDA="cuda>=${CUDA}"

# hadolint ignore=DL3006
FROM base${CUDA:+-cuda}
