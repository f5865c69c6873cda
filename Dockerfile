# popbridge as a container image: the compiled program and what it needs to run, under Node 24, as a user without rights.
# Both stages stand on the same image, which a build can replace: `--build-arg NODE_IMAGE=...`.
ARG NODE_IMAGE=node:24-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --no-fund --no-audit
COPY tsconfig.json ./
COPY src src
RUN npm run build
# What is optional are Node itself, which the image has, and add-ons that their packages do without.
RUN npm prune --omit=dev --omit=optional --no-fund --no-audit \
  && npm pkg delete devDependencies optionalDependencies \
  && npm sbom --sbom-format=spdx > sbom.spdx.json \
  && mkdir data

FROM ${NODE_IMAGE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="popbridge" \
  org.opencontainers.image.description="A POP3-to-HTTP bridge: mailboxes in, JSON and signed webhooks out" \
  org.opencontainers.image.licenses="MIT" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${REVISION}" \
  io.popbridge.sbom="/app/sbom.spdx.json"
ENV NODE_ENV=production POPBRIDGE_HOST=0.0.0.0 POPBRIDGE_DATA_DIR=/data
WORKDIR /app
COPY --from=build /app/package.json /app/sbom.spdx.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY openapi openapi
COPY LICENSE ./
# Blobs are kept here unless POPBRIDGE_BLOB_STORE says otherwise; nothing else is written.
COPY --from=build --chown=65532:65532 /app/data /data
VOLUME /data
USER 65532:65532
EXPOSE 8110
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.POPBRIDGE_PORT ?? 8110}/readyz`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "dist/main.js"]
