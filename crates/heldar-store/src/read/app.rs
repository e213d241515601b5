//! Reads of apps.

use crate::app::{APP_ROWS, AppRow, AppSql, AppValue, Purpose};
use crate::error::StoreError;

impl crate::Store {
    /// Rows of a read of an app: what is committed, at most [`APP_ROWS`] of them. It has no scope: the app leaves out
    /// what its caller may not see.
    ///
    /// On PostgreSQL its columns are BIGINT, INTEGER, SMALLINT, BOOLEAN (0 or 1), DOUBLE PRECISION, TEXT or BYTEA, by a
    /// CAST if need be: the sum of a BIGINT is a NUMERIC there.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Rejected`] when the statement is not taken, by this crate or by the database, when it writes,
    /// when a value or a column has another type, or when there are more rows. Otherwise as every read.
    pub async fn app_rows(&self, sql: &AppSql, values: Vec<AppValue>) -> Result<Vec<AppRow>, StoreError> {
        let rows = async {
            sql.check(Purpose::Read, &values)?;
            let text = sql.text(self.engine());
            self.read(self.readers().app_rows(text, values, APP_ROWS)).await
        };
        rows.await.map_err(|error: StoreError| error.of_app("a read of an app"))
    }
}
