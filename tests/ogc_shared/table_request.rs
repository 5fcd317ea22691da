//! A case of the table as a request of the oracle.

use crate::oracle::Request;
use crate::table::Case;

pub(crate) fn request_of(case: &Case) -> Request {
    Request {
        method: case.method.clone(),
        target: case.target.clone().into_bytes(),
        content_type: case.content_type.clone(),
        coding: case.coding.clone(),
        body: case.body.clone(),
        context: case.context.clone(),
    }
}
