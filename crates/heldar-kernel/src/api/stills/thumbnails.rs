//! `GET /api/v1/cameras/{id}/thumbnails` and their picture (media.md 9.4).

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use heldar_base::{CameraId, Capability, Clock as _, Interval, Micros, StreamId, WallTime};
use heldar_http::{
    Access, ApiError, Caller, Camera, Code, Doc, ETag, Json, Limit, Precondition, Query, RouteTable,
    Validators, precondition,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::{IntoParams, ToSchema};

use super::{TAG, shot_error, text};
use crate::api::requester::Requester;
use crate::api::{Api, errors};
use crate::kernel::Kernel;
use crate::reads::Read;
use crate::stills::Tile;

/// Longest window.
const LONGEST: Micros = Micros::from_hours(366 * 24);
/// Tiles in a row.
const COLUMNS: u16 = 10;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table
        .add(
            Method::GET,
            "/api/v1/cameras/{id}/thumbnails",
            Access::cam(Capability::VideoPlayback),
            list,
            Doc::new("listThumbnails", TAG, "Small pictures that are spread over a window")
                .details(
                    "The window is cut into equal parts; the sync sample nearest to the middle of a part stands for it. \
                     All tiles are on one picture, under `sprite_url`.",
                )
                .query::<ThumbnailsQuery>()
                .json::<Thumbnails>(200, "Where each tile lies.")
                .fails(&[Code::Validation, Code::NotFound, Code::WindowTooLong]),
        )
        .add(
            Method::GET,
            "/api/v1/cameras/{id}/thumbnails.jpg",
            Access::cam(Capability::VideoPlayback),
            sprite,
            Doc::new("getThumbnailSprite", TAG, "The tiles of a window on one picture")
                .query::<ThumbnailsQuery>()
                .content(200, "image/jpeg", "The picture; parts without footage are black.")
                .headers(&[("ETag", "Tells the picture.")])
                .empty(304, "The picture is the one that the client has.")
                .fails(&[Code::Validation, Code::NotFound, Code::NoFootage, Code::WindowTooLong, Code::Busy]),
        );
}

#[derive(Deserialize, IntoParams)]
struct ThumbnailsQuery {
    /// First instant.
    #[param(value_type = String, format = DateTime)]
    from: WallTime,
    /// First instant after; at most 366 days later.
    #[param(value_type = String, format = DateTime)]
    to: WallTime,
    /// How many parts.
    #[serde(default)]
    #[param(inline)]
    count: Limit<20, 1, 200>,
    /// Width of a tile in pixels.
    #[serde(default)]
    #[param(inline)]
    width: Limit<160, 64, 640>,
}

/// Small pictures of a window.
#[derive(Serialize, ToSchema)]
struct Thumbnails {
    /// Whose.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// As asked.
    #[schema(value_type = String, format = DateTime)]
    from: WallTime,
    /// As asked.
    #[schema(value_type = String, format = DateTime)]
    to: WallTime,
    /// How many parts.
    count: u16,
    /// Width of a tile in pixels.
    tile_width: u16,
    /// Height of a tile in pixels.
    tile_height: u16,
    /// Tiles in a row.
    columns: u16,
    /// Rows of tiles.
    rows: u16,
    /// The picture that they are on.
    sprite_url: String,
    /// One for each part, in order.
    tiles: Vec<TileView>,
}

/// What stands for a part of the window.
#[derive(Serialize, ToSchema)]
#[schema(as = ThumbnailTile)]
struct TileView {
    /// Middle of the part.
    #[schema(value_type = String, format = DateTime)]
    at: WallTime,
    /// When its picture was captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    captured_at: Option<WallTime>,
    /// Left edge on the sprite.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    x: Option<u16>,
    /// Upper edge on the sprite.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    y: Option<u16>,
    /// Width on the sprite.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    width: Option<u16>,
    /// Height on the sprite.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    height: Option<u16>,
    /// There is no footage in this part.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    missing: Option<bool>,
}

/// Where tiles lie.
struct Sheet {
    stream: StreamId,
    tiles: Vec<Option<Tile>>,
    cell: (u16, u16),
    columns: u16,
    rows: u16,
}

impl Sheet {
    fn corner(&self, number: usize) -> (u16, u16) {
        // At most 200 cells of 640 by 640.
        let number = u16::try_from(number).unwrap_or(0);
        (number % self.columns * self.cell.0, number / self.columns * self.cell.1)
    }

    fn size(&self) -> (u16, u16) {
        (self.columns * self.cell.0, self.rows * self.cell.1)
    }
}

/// The parts of a window: the first instant of each, and of the last also the end.
fn parts(window: Interval, count: u16) -> Vec<Interval> {
    let span = (window.end - window.start).0;
    let edge = |number: u16| {
        let share = i128::from(span) * i128::from(number) / i128::from(count.max(1));
        window.start + Micros(i64::try_from(share).unwrap_or(span))
    };
    (0..count).map(|number| Interval::new(edge(number), edge(number + 1))).collect()
}

fn middle(part: &Interval) -> WallTime {
    part.start + Micros((part.end - part.start).0 / 2)
}

fn window(query: &ThumbnailsQuery) -> Result<Interval, ApiError> {
    if query.to <= query.from {
        return Err(ApiError::validation("to", "`to` must lie after `from`"));
    }
    if query.to - query.from > LONGEST {
        return Err(ApiError::new(Code::WindowTooLong, "a window is at most 366 days long").with_field("to"));
    }
    Ok(Interval::new(query.from, query.to))
}

async fn sheet(
    kernel: &Kernel,
    caller: &Caller,
    camera: &CameraId,
    query: &ThumbnailsQuery,
) -> Result<Sheet, ApiError> {
    let window = window(query)?;
    let found = kernel.store.camera(caller.scope(), camera).await.map_err(errors::store)?;
    let found = found.ok_or_else(|| ApiError::not_found("camera"))?;
    let stream =
        kernel.stream_asked(caller.scope(), &found, None, window.into()).await.map_err(errors::store)?;
    let count = u16::try_from(query.count.get()).unwrap_or(1);
    let wide = u16::try_from(query.width.get()).unwrap_or(160) / 2 * 2;
    let tiles = kernel.tiles(caller.scope(), &stream, parts(window, count)).await.map_err(errors::footage)?;
    // As high as the newest picture makes it; others are cut to that.
    let (width, height) = tiles.iter().flatten().last().map_or((16, 9), |tile| tile.size);
    let high = u32::from(wide) * height / width.max(1);
    let high = u16::try_from(high.clamp(2, u32::from(wide) * 2)).unwrap_or(wide) / 2 * 2;
    let columns = count.min(COLUMNS);
    Ok(Sheet { stream, tiles, cell: (wide, high), columns, rows: count.div_ceil(columns) })
}

async fn list(
    State(kernel): State<Api>,
    caller: Caller,
    Camera(id): Camera,
    Query(query): Query<ThumbnailsQuery>,
) -> Result<Json<Thumbnails>, ApiError> {
    let sheet = Box::pin(sheet(&kernel, &caller, &id, &query)).await?;
    let count = u16::try_from(query.count.get()).unwrap_or(1);
    let parts = parts(window(&query)?, count);
    let tiles = parts.iter().zip(&sheet.tiles).enumerate().map(|(number, (part, tile))| {
        let corner = tile.as_ref().map(|_| sheet.corner(number));
        TileView {
            at: middle(part),
            captured_at: tile.as_ref().map(|tile| tile.captured_at),
            x: corner.map(|corner| corner.0),
            y: corner.map(|corner| corner.1),
            width: corner.map(|_| sheet.cell.0),
            height: corner.map(|_| sheet.cell.1),
            missing: tile.is_none().then_some(true),
        }
    });
    let sprite_url = format!(
        "/api/v1/cameras/{id}/thumbnails.jpg?from={}&to={}&count={count}&width={}",
        query.from,
        query.to,
        query.width.get()
    );
    Ok(Json(Thumbnails {
        from: query.from,
        to: query.to,
        count,
        tile_width: sheet.cell.0,
        tile_height: sheet.cell.1,
        columns: sheet.columns,
        rows: sheet.rows,
        sprite_url,
        tiles: tiles.collect(),
        camera_id: id,
    }))
}

async fn sprite(
    State(kernel): State<Api>,
    Requester { caller, author }: Requester,
    Camera(id): Camera,
    method: Method,
    headers: HeaderMap,
    Query(query): Query<ThumbnailsQuery>,
) -> Result<Response, ApiError> {
    let sheet = Box::pin(sheet(&kernel, &caller, &id, &query)).await?;
    if sheet.tiles.iter().all(Option::is_none) {
        return Err(ApiError::no_footage());
    }
    let etag = ETag::strong(&tag(&sheet));
    let mut out = HeaderMap::new();
    if let Some(etag) = &etag {
        text(&mut out, "etag", etag.as_str());
    }
    // What is past does not change but for what is deleted.
    let past = query.to < kernel.clock.wall() - Micros::from_secs(60);
    let cache = if past { "private, max-age=3600" } else { "private, no-cache" };
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if precondition(&method, &headers, Validators { etag: etag.as_ref(), last_modified: None })
        == Precondition::NotModified
    {
        return Ok((StatusCode::NOT_MODIFIED, out).into_response());
    }
    kernel.read(&author, &sheet.stream.camera, Read::Snapshot, Interval::new(query.from, query.to));
    let (size, cell) = (sheet.size(), sheet.cell);
    let corners: Vec<(u16, u16)> = (0..sheet.tiles.len()).map(|number| sheet.corner(number)).collect();
    let placed = corners.into_iter().zip(sheet.tiles);
    let tiles = placed.filter_map(|((x, y), tile)| Some((x, y, tile?))).collect();
    let jpeg = Box::pin(kernel.sprite(tiles, cell, size)).await.map_err(shot_error)?;
    let mut response = jpeg.into_response();
    response.headers_mut().extend(out);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    Ok(response)
}

/// Tells a sheet from every other: recorded files never change.
fn tag(sheet: &Sheet) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{:?} {} {}", sheet.cell, sheet.columns, sheet.stream));
    for tile in &sheet.tiles {
        hash.update(tile.as_ref().map(Tile::name).unwrap_or_default());
        hash.update([0]);
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_window_without_overlap() {
        for (span, count) in [(10, 3), (7, 200), (366 * 86_400_000_000, 200), (1, 1)] {
            let window = Interval::new(WallTime(5), WallTime(5 + span));
            let parts = parts(window, count);
            assert_eq!(parts.len(), usize::from(count));
            assert_eq!((parts[0].start, parts[parts.len() - 1].end), (window.start, window.end));
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }
}
