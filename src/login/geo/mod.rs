//! Province and city of an address, from a database file that the operator has: `login.geo_database`.
//!
//! Nothing is downloaded. The file is read whole at the start and when it changes; a lookup touches memory only. What a
//! database says is a hint for a person, never a reason to decide anything.

mod mmdb;
mod xdb;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::config::settings::Locale;

/// A database in memory.
pub struct GeoDatabase {
    path: PathBuf,
    stamp: Stamp,
    format: Format,
}

enum Format {
    Xdb(xdb::Xdb),
    Mmdb(mmdb::Mmdb),
}

/// By what a changed file is known.
type Stamp = (u64, Option<SystemTime>);

/// Why there is no database. The text is what the operator reads.
#[derive(Debug, thiserror::Error)]
#[error(
    "login.geo_database: {path}: {reason}; name an ip2region .xdb or a MaxMind .mmdb file, or leave the key out",
    path = .path.display()
)]
pub struct GeoError {
    /// Which file.
    path: PathBuf,
    reason: String,
}

/// Where an address is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Region {
    /// In mainland China, where nobody has to be told the country.
    at_home: bool,
    country: Names,
    province: Names,
    city: Names,
}

/// A name in the languages that a database has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Names {
    zh_cn: Option<String>,
    en: Option<String>,
    ja: Option<String>,
}

impl GeoDatabase {
    /// Reads a file; the former database again when it is of the very same file.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(path: &Path, former: Option<&std::sync::Arc<Self>>) -> Result<std::sync::Arc<Self>, GeoError> {
        let failed = |reason: String| GeoError {
            path: path.to_path_buf(),
            reason,
        };
        let metadata = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
        let stamp = (metadata.len(), metadata.modified().ok());
        if let Some(former) = former.filter(|former| former.path == path && former.stamp == stamp) {
            return Ok(std::sync::Arc::clone(former));
        }
        let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("xdb") => Format::Xdb(xdb::Xdb::new(bytes).map_err(|error| failed(error.to_string()))?),
            _ => Format::Mmdb(mmdb::Mmdb::new(bytes).map_err(failed)?),
        };
        Ok(std::sync::Arc::new(Self {
            path: path.to_path_buf(),
            stamp,
            format,
        }))
    }

    /// Where an address is, if the database knows it.
    pub fn region(&self, address: IpAddr) -> Option<Region> {
        let address = address.to_canonical();
        let region = match &self.format {
            Format::Xdb(database) => database.region(address),
            Format::Mmdb(database) => database.region(address),
        };
        region.filter(|region| region.text(Locale::En).is_some())
    }
}

impl std::fmt::Debug for GeoDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("GeoDatabase").field(&self.path).finish()
    }
}

impl Region {
    /// Province and city, elsewhere with the country before them: in this language, or in one that the database has.
    pub fn text(&self, locale: Locale) -> Option<String> {
        let country = Some(&self.country).filter(|_| !self.at_home || self.province.is_empty());
        let mut parts: Vec<&str> = Vec::new();
        for names in country.into_iter().chain([&self.province, &self.city]) {
            match names.of(locale) {
                // Municipalities are their own province: 北京, 北京市.
                Some(name) if parts.last().is_some_and(|last| name.starts_with(last)) => {
                    parts.pop();
                    parts.push(name);
                }
                Some(name) => parts.push(name),
                None => {}
            }
        }
        (!parts.is_empty()).then(|| parts.join(" "))
    }
}

impl Names {
    fn chinese(name: &str) -> Self {
        Self {
            zh_cn: Some(name.to_owned()),
            ..Self::default()
        }
    }

    fn is_empty(&self) -> bool {
        self.of(Locale::En).is_none()
    }

    fn of(&self, locale: Locale) -> Option<&str> {
        let Self { zh_cn, en, ja } = self;
        let order = match locale {
            Locale::ZhCn | Locale::ZhTw => [zh_cn, en, ja],
            Locale::En => [en, zh_cn, ja],
            Locale::Ja => [ja, en, zh_cn],
        };
        order.into_iter().find_map(Option::as_deref)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::sync::Arc;

    use super::*;

    fn place(country: &str, province: &str, city: &str) -> Region {
        let names = |name: &str| {
            Some(name)
                .filter(|name| !name.is_empty())
                .map(Names::chinese)
                .unwrap_or_default()
        };
        Region {
            at_home: country == "中国",
            country: names(country),
            province: names(province),
            city: names(city),
        }
    }

    #[test]
    fn province_and_city_are_said_and_the_country_only_elsewhere() {
        for (region, said) in [
            (place("中国", "广东省", "深圳市"), Some("广东省 深圳市")),
            (place("中国", "北京", "北京市"), Some("北京市")),
            (place("中国", "", ""), Some("中国")),
            (place("美国", "加利福尼亚", "旧金山"), Some("美国 加利福尼亚 旧金山")),
            (place("新加坡", "", ""), Some("新加坡")),
            (place("", "", ""), None),
        ] {
            assert_eq!(region.text(Locale::ZhTw).as_deref(), said);
        }
    }

    #[test]
    fn a_file_is_read_again_only_when_it_changed_and_a_broken_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("places.xdb");
        std::fs::write(
            &path,
            xdb::tests::four(&[("1.0.0.0", "1.0.0.255", "中国|0|福建省|福州市|电信")]),
        )
        .unwrap();
        let first = GeoDatabase::read(&path, None).unwrap();
        assert!(Arc::ptr_eq(&first, &GeoDatabase::read(&path, Some(&first)).unwrap()));
        let said = |database: &GeoDatabase| {
            let region = database.region("::ffff:1.0.0.9".parse().unwrap());
            region.and_then(|region| region.text(Locale::ZhCn))
        };
        assert_eq!(said(&first).as_deref(), Some("福建省 福州市"));
        std::fs::write(
            &path,
            xdb::tests::four(&[("1.0.0.0", "1.0.0.255", "中国|0|海南省|海口市|移动网络")]),
        )
        .unwrap();
        let second = GeoDatabase::read(&path, Some(&first)).unwrap();
        assert_eq!(said(&second).as_deref(), Some("海南省 海口市"));
        for (name, content) in [
            ("broken.xdb", "no database"),
            ("broken.mmdb", "no database"),
            ("absent.mmdb", ""),
        ] {
            let path = directory.path().join(name);
            if !content.is_empty() {
                std::fs::write(&path, content).unwrap();
            }
            let error = GeoDatabase::read(&path, None).unwrap_err().to_string();
            assert!(
                error.starts_with("login.geo_database: ") && error.contains(name),
                "{error}"
            );
        }
    }
}
