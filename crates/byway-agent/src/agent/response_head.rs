//! Response head: converts the codec's index to an `http::Response`.
//!
//! In:    a parsed head.
//! Out:   status, version and fields; values share one allocation.
//! Never: drops or joins a field.

use super::error::{BadAnswer, Error};
use byway_head::{Response as View, Version};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

/// Converts a head, whose values `value` copies or shares.
pub(super) fn read(
    view: &View<'_>,
    mut value: impl FnMut(&[u8]) -> Option<HeaderValue>,
) -> Result<Response<()>, Error> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(view.status()).map_err(|_| unrepresentable())?;
    *response.version_mut() = match view.version() {
        Version::Http10 => http::Version::HTTP_10,
        Version::Http11 => http::Version::HTTP_11,
        Version::Http2 => http::Version::HTTP_2,
        Version::Http3 => http::Version::HTTP_3,
    };
    *response.headers_mut() = HeaderMap::with_capacity(view.fields().len());
    for field in view.fields() {
        let name = HeaderName::from_bytes(field.name).map_err(|_| unrepresentable())?;
        let value = value(field.value).ok_or_else(unrepresentable)?;
        response
            .headers_mut()
            .try_append(name, value)
            .map_err(|_| unrepresentable())?;
    }
    Ok(response)
}

fn unrepresentable() -> Error {
    Error::Malformed(BadAnswer::Unrepresentable)
}
