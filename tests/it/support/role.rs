//! Roles with few rights.
#![allow(dead_code)]

use super::postgres::{Database, unique};

/// The password of these roles.
const PASSWORD: &str = "hunter2";

/// A role without rights, on the server that all tests share; it is dropped with the database.
pub struct Role<'a> {
    pub name: String,
    database: &'a Database,
}

impl<'a> Role<'a> {
    pub fn new(database: &'a Database, attributes: &str) -> Role<'a> {
        let name = unique("Role");
        database.execute(&format!(
            "CREATE ROLE \"{name}\" LOGIN PASSWORD '{PASSWORD}' {attributes}"
        ));
        Role { name, database }
    }

    pub fn url(&self) -> String {
        let server = self.database.url();
        let (_, place) = server.rsplit_once('@').expect("a URL with a user");
        format!("postgres://{}:{PASSWORD}@{place}", self.name)
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        let name = &self.name;
        let _ = self.database.try_execute(&format!(
            "DROP OWNED BY \"{name}\" CASCADE; DROP ROLE \"{name}\""
        ));
    }
}
