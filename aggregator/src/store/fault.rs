//! Which errors of a database may pass, and which will not.

use super::StoreError;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::SqliteError;

/// SQLite's primary result codes, the low byte of every extended one. Source: <https://sqlite.org/rescode.html>.
mod sqlite_code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const NOMEM: i32 = 7;
    pub(super) const INTERRUPT: i32 = 9;
    pub(super) const IOERR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const PROTOCOL: i32 = 15;
    pub(super) const NOTADB: i32 = 26;
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_passing(&error) { Self::Unavailable(error) } else { Self::Refused(error) }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(inner) | MigrateError::ExecuteMigration(inner, _) if is_passing(&inner) => {
                Self::Unavailable(inner)
            }
            error => Self::Migrate(error),
        }
    }
}

/// Whether the file is no SQLite database, or not a whole one.
pub(super) fn is_damage(error: &sqlx::Error) -> bool {
    sqlite_code(error).is_some_and(|code| matches!(code, sqlite_code::CORRUPT | sqlite_code::NOTADB))
}

/// Whether the same statement may succeed later, without a person changing the program or the schema.
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(database) => match sqlite_code(error) {
            Some(code) => is_passing_sqlite(code),
            None => database.code().is_some_and(|state| is_passing_sqlstate(&state)),
        },
        _ => false,
    }
}

fn is_passing_sqlite(code: i32) -> bool {
    use sqlite_code::{BUSY, CANTOPEN, FULL, INTERRUPT, IOERR, LOCKED, NOMEM, PROTOCOL};
    matches!(code, BUSY | LOCKED | NOMEM | INTERRUPT | IOERR | FULL | CANTOPEN | PROTOCOL)
}

/// By class: connection lost (08), resources such as connections or disk (53), the operator stops, restarts or cancels
/// (57), the system below fails (58). By state: the transaction lost against another (40001, 40P01), a lock did not
/// come in time (55P03), the server became a standby (25006), our idle transaction was ended (25P03).
fn is_passing_sqlstate(state: &str) -> bool {
    let class = state.get(..2).unwrap_or_default();
    matches!(class, "08" | "53" | "57" | "58") || matches!(state, "40001" | "40P01" | "55P03" | "25006" | "25P03")
}

fn sqlite_code(error: &sqlx::Error) -> Option<i32> {
    let database = error.as_database_error()?;
    database.try_downcast_ref::<SqliteError>()?;
    database.code()?.parse::<i32>().ok().map(|code| code & 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_that_time_heals_are_told_from_states_that_it_does_not() {
        for passing in
            ["08006", "53100", "53300", "57P01", "57P03", "57014", "58030", "40001", "40P01", "55P03", "25006"]
        {
            assert!(is_passing_sqlstate(passing), "{passing}");
        }
        for lasting in ["42P01", "23505", "22001", "28P01", "3D000", ""] {
            assert!(!is_passing_sqlstate(lasting), "{lasting}");
        }
    }
}
