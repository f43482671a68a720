//! The node: API, batcher, dispatch, placement
