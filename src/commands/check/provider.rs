//! Whose server it is: a provider's roles are in `pg_roles`, and its way to a setting or a right is
//! its own.

use super::report::Mend;
use crate::pg::connection::{quote_identifier, quote_literal};

/// Who runs the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Nobody in between.
    Own,
    /// Amazon RDS and Aurora.
    Rds,
    /// Google Cloud SQL and AlloyDB.
    Google,
    /// Azure Database for PostgreSQL.
    Azure,
}

/// The roles that give a provider away.
pub const ROLES: [(&str, Provider); 4] = [
    ("rds_superuser", Provider::Rds),
    ("cloudsqlsuperuser", Provider::Google),
    ("alloydbsuperuser", Provider::Google),
    ("azure_pg_admin", Provider::Azure),
];

/// A provider's own name for a setting.
const RENAMED: [(Provider, &str, &str, &str); 2] = [
    (Provider::Rds, "wal_level", "rds.logical_replication", "1"),
    (
        Provider::Google,
        "wal_level",
        "cloudsql.logical_decoding (alloydb.logical_decoding on AlloyDB)",
        "on",
    ),
];

impl Provider {
    /// The provider that one of these roles belongs to.
    pub fn of(roles: &[String]) -> Provider {
        let found = ROLES
            .iter()
            .find(|(name, _)| roles.iter().any(|role| role == name));
        found.map_or(Provider::Own, |(_, provider)| *provider)
    }

    /// How a setting is changed that is read at the server's start.
    pub fn set_at_start(self, name: &str, value: &str) -> Mend {
        match self {
            Provider::Own => Mend::sql(alter_system(name, value)).and_restart(),
            _ => self.set_elsewhere(name, value, ", and restart it"),
        }
    }

    /// How a setting is changed while the server runs.
    pub fn set(self, name: &str, value: &str) -> Vec<Mend> {
        match self {
            Provider::Own => vec![
                Mend::sql(alter_system(name, value)),
                Mend::sql("SELECT pg_reload_conf();"),
            ],
            _ => vec![self.set_elsewhere(name, value, "")],
        }
    }

    /// How a role gets the right to replicate.
    pub fn grant_replication(self, user: &str) -> Mend {
        let user = quote_identifier(user);
        Mend::sql(match self {
            Provider::Rds => format!("GRANT rds_replication TO {user};"),
            _ => format!("ALTER ROLE {user} REPLICATION;"),
        })
    }

    fn set_elsewhere(self, name: &str, value: &str, then: &str) -> Mend {
        let place = match self {
            Provider::Rds => "the DB parameter group of the instance (of the cluster, on Aurora)",
            Provider::Google => "the database flags of the instance",
            Provider::Azure => "the server parameters",
            Provider::Own => "postgresql.conf",
        };
        let renamed = RENAMED
            .iter()
            .find(|(provider, theirs, ..)| *provider == self && *theirs == name);
        let (name, value) = renamed.map_or((name, value), |(_, _, name, value)| (name, value));
        Mend::advice(format!("in {place}, set {name} to {value}{then}"))
    }
}

fn alter_system(name: &str, value: &str) -> String {
    format!("ALTER SYSTEM SET {name} = {};", quote_literal(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_provider_has_its_own_way() {
        let roles = |name: &str| vec!["postgres".to_owned(), name.to_owned()];
        let rds = Provider::of(&roles("rds_superuser"));
        let set = rds.set_at_start("wal_level", "logical").text;
        assert!(set.contains("rds.logical_replication to 1"), "{set}");
        assert_eq!(
            rds.grant_replication("u").text,
            "GRANT rds_replication TO \"u\";"
        );
        let azure = Provider::of(&roles("azure_pg_admin"));
        let set = azure.set_at_start("wal_level", "logical").text;
        assert_eq!(
            set,
            "in the server parameters, set wal_level to logical, and restart it"
        );
        let google = Provider::of(&roles("alloydbsuperuser"));
        assert!(google.set("x", "1")[0].text.contains("database flags"));
        let own = Provider::of(&[]);
        assert_eq!(own.set("x", "1")[0].text, "ALTER SYSTEM SET x = '1';");
        assert_eq!(
            own.grant_replication("u").text,
            "ALTER ROLE \"u\" REPLICATION;"
        );
    }
}
