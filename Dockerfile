# Gatekeeper's image: one static program that runs as a user without rights. Its data is in /data.
#
#   docker build --build-arg VERSION=1.2.3 --build-arg COMMIT="$(git rev-parse HEAD)" \
#     --build-arg DATE="$(git log -1 --format=%cI)" --tag gatekeeper .
#
# exec/run finds no programs here: put those that you allow into an image made FROM this one.
ARG GO_VERSION=1.26

FROM golang:${GO_VERSION} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
ARG COMMIT
ARG DATE
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.release=${VERSION} -X main.commit=${COMMIT} -X main.date=${DATE}" -o /out/gatekeeper ./cmd/gatekeeper \
 && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /out/shop ./examples/shop \
 && mkdir /out/data

# The shop of docker-compose.yml.
FROM gcr.io/distroless/static-debian12:nonroot AS shop
COPY --from=build /out/shop /usr/local/bin/shop
ENTRYPOINT ["/usr/local/bin/shop"]

# Certificates and time zones are the base image's; its user is nonroot, 65532.
FROM gcr.io/distroless/static-debian12:nonroot AS gatekeeper
ARG VERSION=unknown
LABEL org.opencontainers.image.title="Gatekeeper" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /out/gatekeeper /usr/local/bin/gatekeeper
COPY --from=build --chown=65532:65532 /out/data /data
ENV STATE_DIRECTORY=/data
VOLUME /data
EXPOSE 9095
ENTRYPOINT ["/usr/local/bin/gatekeeper"]
CMD ["serve"]
