//! Lists that are whole unless a page is asked for (media.md 2.4).

use heldar_http::Limit;
use heldar_store::PAGE_LIMIT;
use serde::Deserialize;
use utoipa::IntoParams;

/// How much of a list that is whole by default.
#[derive(Debug, Deserialize, IntoParams)]
pub struct Paging {
    /// Longest page, moved into 1..5000; everything without it.
    #[param(value_type = Option<u32>)]
    limit: Option<Limit<5000, 1, 5000>>,
    /// Where the page begins.
    #[serde(rename = "cursor")]
    _cursor: Option<String>,
}

impl Paging {
    /// Rows to read at a time.
    pub fn rows(&self) -> u32 {
        self.limit.map_or(PAGE_LIMIT, Limit::get)
    }

    /// True when the list ends with the rows that were read, whether or not there are more.
    pub fn is_page(&self) -> bool {
        self.limit.is_some()
    }
}
