# syntax=docker/dockerfile:1
#
# The gateway without its sandbox, in an image with nothing but it and the C library: no shell, no package manager, a
# user that is not root.
#
#   docker build --tag menshen .
#   docker run --publish 8080:8080 --env MENSHEN_SECRET --env MENSHEN_STAFF_SECRET \
#       --volume ./config:/etc/menshen:ro --volume menshen:/var/lib/menshen menshen
#
# The configuration is /etc/menshen/menshen.toml. Mount its directory, not the file: a file that an editor replaces keeps
# its old content inside a container. `listen` must name 0.0.0.0; `admin_listen` stays on loopback unless Prometheus comes
# from outside.

FROM rust:1.94-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY Cargo.toml Cargo.lock .askama.toml ./
COPY src src
COPY docs docs
COPY benches benches
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/source/target,sharing=locked \
    cargo build --release --locked --no-default-features --features otel --bin menshen \
    && install -D -m 0755 target/release/menshen /image/usr/local/bin/menshen \
    && install -d -m 0700 -o 65532 -g 65532 /image/var/lib/menshen \
    && install -d -m 0755 /image/etc/menshen

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /image/usr /usr
COPY --from=build --chown=65532:65532 /image/var/lib/menshen /var/lib/menshen
COPY --from=build /image/etc/menshen /etc/menshen
ENV MENSHEN_CONFIG=/etc/menshen/menshen.toml
USER 65532:65532
VOLUME /var/lib/menshen
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["/usr/local/bin/menshen", "health"]
ENTRYPOINT ["/usr/local/bin/menshen"]
CMD ["serve"]
