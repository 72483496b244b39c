//! What the environment says about traces: the variables of OpenTelemetry's specification, so that one set of them serves
//! the gateway and the applications behind it.

use std::time::Duration;

use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TIMEOUT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    OTEL_EXPORTER_OTLP_TRACES_TIMEOUT,
};
use opentelemetry_sdk::Resource;
use url::Url;

/// What is asked of the export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Environment {
    /// Spans that wait; what comes then is dropped.
    pub(super) queue: usize,
    /// Spans of one request to the collector.
    pub(super) batch: usize,
    /// How long the first span of a batch waits for the others.
    pub(super) delay: Duration,
    /// For one batch, attempts that are repeated included.
    pub(super) timeout: Duration,
}

/// Why traces are not exported although an endpoint is set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("{name} is no http or https address")]
    Endpoint { name: &'static str },
    #[error("{name} is {value:?}: only \"http/protobuf\" is spoken")]
    Protocol { name: &'static str, value: String },
    #[error("OTEL_TRACES_EXPORTER is {0:?}: only \"otlp\" and \"none\" are known")]
    Exporter(String),
}

impl Environment {
    /// Nothing where no endpoint is set, or where traces are switched off.
    pub(super) fn read(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Unusable> {
        // The specification wants an empty variable taken for none.
        let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        let disabled = get("OTEL_SDK_DISABLED").is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
        let endpoint = [OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT]
            .into_iter()
            .find_map(|name| Some((name, get(name)?)));
        let Some((name, endpoint)) = endpoint.filter(|_| !disabled) else {
            return Ok(None);
        };
        match get("OTEL_TRACES_EXPORTER").as_deref().map(str::trim) {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => return Err(Unusable::Exporter(other.to_owned())),
        }
        if !Url::parse(endpoint.trim()).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            return Err(Unusable::Endpoint { name });
        }
        let protocol = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]
            .into_iter()
            .find_map(|name| Some((name, get(name)?)));
        if let Some((name, value)) = protocol.filter(|(_, value)| value.trim() != "http/protobuf") {
            return Err(Unusable::Protocol { name, value });
        }
        let number = |name: &str| get(name)?.trim().parse::<u64>().ok().filter(|number| *number > 0);
        let count = |name: &str, usual: usize| number(name).and_then(|n| n.try_into().ok()).unwrap_or(usual);
        let milliseconds = |name: &str| number(name).map(Duration::from_millis);
        let queue = count("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE).min(LARGEST_QUEUE);
        Ok(Some(Self {
            queue,
            batch: count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH).min(queue),
            delay: milliseconds("OTEL_BSP_SCHEDULE_DELAY").unwrap_or(DELAY),
            timeout: milliseconds(OTEL_EXPORTER_OTLP_TRACES_TIMEOUT)
                .or_else(|| milliseconds(OTEL_EXPORTER_OTLP_TIMEOUT))
                .unwrap_or(TIMEOUT),
        }))
    }
}

/// A sampler that the SDK would replace silently.
pub(super) fn unknown_sampler() -> Option<String> {
    let sampler = std::env::var("OTEL_TRACES_SAMPLER").ok()?;
    (!sampler.is_empty() && !SAMPLERS.contains(&&*sampler)).then_some(sampler)
}

/// Who speaks, as the environment has it: `menshen` where it says nothing.
pub(super) fn resource() -> Resource {
    let told = Resource::builder().build();
    let lacks = |key: &'static str| told.get(&Key::from_static_str(key)).is_none();
    let unnamed = told
        .get(&Key::from_static_str("service.name"))
        .is_none_or(|name| name.as_str().starts_with("unknown_service"));
    let mut builder = Resource::builder();
    if unnamed {
        builder = builder.with_service_name("menshen");
    }
    if lacks("service.version") {
        builder = builder.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    builder.build()
}

const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// The specification's own.
const QUEUE: usize = 2_048;
const BATCH: usize = 512;
const DELAY: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);

/// About a kilobyte each: a slip of the finger must not become a gigabyte.
const LARGEST_QUEUE: usize = 65_536;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Environment>, Unusable> {
        Environment::read(|name| {
            let found = variables.iter().find(|(held, _)| *held == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const ON: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    #[test]
    fn nothing_is_exported_unless_somebody_asks_for_it() {
        let cases: [(&[(&str, &str)], bool); 9] = [
            (&[], false),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], false),
            (
                &[("OTEL_SERVICE_NAME", "gate"), ("OTEL_TRACES_EXPORTER", "otlp")],
                false,
            ),
            (&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://collector")], false),
            (&[ON], true),
            (
                &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector/v1/traces")],
                true,
            ),
            (&[ON, ("OTEL_SDK_DISABLED", "TRUE")], false),
            (
                &[ON, ("OTEL_SDK_DISABLED", "false"), ("OTEL_TRACES_EXPORTER", "")],
                true,
            ),
            (&[ON, ("OTEL_TRACES_EXPORTER", "none")], false),
        ];
        for (variables, on) in cases {
            assert_eq!(read(variables).unwrap().is_some(), on, "{variables:?}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT";
        for address in ["collector:4318", "grpc://collector", "//collector", "x"] {
            assert_eq!(
                read(&[(endpoint, address)]),
                Err(Unusable::Endpoint { name: endpoint }),
                "{address}"
            );
        }
        for protocol in ["grpc", "http/json"] {
            let said = read(&[ON, ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)]);
            assert!(matches!(said, Err(Unusable::Protocol { .. })), "{protocol}");
        }
        assert!(read(&[ON, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]).is_ok());
        assert!(read(&[ON, ("OTEL_TRACES_EXPORTER", "zipkin")]).is_err());
    }

    #[test]
    fn limits_are_those_of_the_specification_unless_they_are_told() {
        let usual = read(&[ON]).unwrap().unwrap();
        assert_eq!(
            usual,
            Environment {
                queue: 2048,
                batch: 512,
                delay: Duration::from_secs(5),
                timeout: Duration::from_secs(10)
            }
        );
        let told = read(&[
            ON,
            ("OTEL_BSP_MAX_QUEUE_SIZE", "7"),
            ("OTEL_BSP_SCHEDULE_DELAY", "250"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "900"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "nonsense"),
        ]);
        assert_eq!(
            told.unwrap().unwrap(),
            Environment {
                queue: 7,
                batch: 7,
                delay: Duration::from_millis(250),
                timeout: Duration::from_millis(900)
            }
        );
    }
}
