//! The state as one ordered whole: layers, newest first, over the base.

use std::iter::Peekable;
use std::ops::{ControlFlow, Deref};

use bytes::Bytes;

use crate::base::{Base, KeyRange, Table, Visit};
use crate::layer::{Layer, Lookup, RowsInRange};
use crate::meta::StateError;

/// How deep layers lie at most: a transaction's own writes, the active layer, the frozen one.
const LAYERS_MAX: usize = 3;

/// See the module.
pub(crate) struct View<'a, B> {
    layers: [Option<&'a Layer>; LAYERS_MAX],
    base: &'a B,
}

/// A row where it was found. Looked at only, it costs no share in it.
pub(crate) enum Found<'a> {
    Layer(&'a Bytes),
    Base(Bytes),
}

impl Found<'_> {
    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::Layer(row) => row.clone(),
            Self::Base(row) => row,
        }
    }
}

impl Deref for Found<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Layer(row) => row,
            Self::Base(row) => row,
        }
    }
}

impl<'a, B: Base> View<'a, B> {
    /// `layers`: the newest first.
    pub(crate) fn new(layers: [Option<&'a Layer>; LAYERS_MAX], base: &'a B) -> Self {
        Self { layers, base }
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StateError<B::Error>> {
        Ok(self.find(table, key)?.map(Found::into_bytes))
    }

    pub(crate) fn find(&self, table: Table, key: &[u8]) -> Result<Option<Found<'a>>, StateError<B::Error>> {
        for layer in self.layers() {
            match layer.get(table, key) {
                Lookup::Row(row) => return Ok(Some(Found::Layer(row))),
                Lookup::Deleted => return Ok(None),
                Lookup::Below => {}
            }
        }
        Ok(self.base.get(table, key).map_err(StateError::Base)?.map(Found::Base))
    }

    /// Visit the rows of `range` in key order until the visitor breaks.
    pub(crate) fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        visit: &mut Visit<'_>,
    ) -> Result<(), StateError<B::Error>> {
        let mut overlay = Overlay::new(self, table, range).peekable();
        let mut stopped = false;
        let merge = &mut |key: &[u8], row: &[u8]| {
            let step = drain_below(&mut overlay, Some(key), visit);
            let step = match (step, overlay.next_if(|(newer, _)| **newer == *key)) {
                (ControlFlow::Break(()), _) => ControlFlow::Break(()),
                (_, Some((_, newer_row))) => {
                    newer_row.map_or(ControlFlow::Continue(()), |row| visit(key, row))
                }
                (_, None) if self.covers(table, key) => ControlFlow::Continue(()),
                (_, None) => visit(key, row),
            };
            stopped = step.is_break();
            step
        };
        if !self.layers().any(|layer| layer.covers_range(table, range)) {
            self.base.scan(table, range, merge).map_err(StateError::Base)?;
        }
        if !stopped {
            let _: ControlFlow<()> = drain_below(&mut overlay, None, visit);
        }
        Ok(())
    }

    /// The first row of `range`, if there is one.
    pub(crate) fn is_occupied(&self, table: Table, range: &KeyRange) -> Result<bool, StateError<B::Error>> {
        let mut occupied = false;
        self.scan(table, range, &mut |_, _| {
            occupied = true;
            ControlFlow::Break(())
        })?;
        Ok(occupied)
    }

    fn layers(&self) -> impl Iterator<Item = &'a Layer> {
        self.layers.into_iter().flatten()
    }

    fn covers(&self, table: Table, key: &[u8]) -> bool {
        self.layers().any(|layer| layer.covers(table, key))
    }
}

/// Visit the overlay's rows below `end` (all of them without an end).
fn drain_below(
    overlay: &mut Peekable<Overlay<'_>>,
    end: Option<&[u8]>,
    visit: &mut Visit<'_>,
) -> ControlFlow<()> {
    while let Some((key, row)) = overlay.next_if(|(key, _)| end.is_none_or(|end| ***key < *end)) {
        if let Some(row) = row {
            visit(key, row)?;
        }
    }
    ControlFlow::Continue(())
}

/// The layers' rows of a range merged by key; for each key what the newest layer says, deletions included.
struct Overlay<'a> {
    table: Table,
    layers: [Option<(&'a Layer, Peekable<RowsInRange<'a>>)>; LAYERS_MAX],
}

impl<'a> Overlay<'a> {
    fn new<B: Base>(view: &View<'a, B>, table: Table, range: &KeyRange) -> Self {
        let layers =
            view.layers.map(|layer| layer.map(|layer| (layer, layer.range(table, range).peekable())));
        Self { table, layers }
    }
}

impl<'a> Iterator for Overlay<'a> {
    type Item = (&'a Bytes, Option<&'a Bytes>);

    fn next(&mut self) -> Option<Self::Item> {
        let least = self
            .layers
            .iter_mut()
            .flatten()
            .filter_map(|(_, rows)| rows.peek().map(|(key, _)| *key))
            .min()?;
        let mut said = None;
        let mut is_cleared = false;
        for (layer, rows) in self.layers.iter_mut().flatten() {
            let own = rows.next_if(|(key, _)| *key == least);
            if said.is_none() {
                said = own.map(|(_, row)| if is_cleared { None } else { row.as_ref() });
                is_cleared |= layer.covers(self.table, least);
            }
        }
        Some((least, said.flatten()))
    }
}
