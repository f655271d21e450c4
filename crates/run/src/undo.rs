//! The undo stack of a start.

use crate::failure::Failure;

type Revert = Box<dyn FnOnce() -> Result<(), Failure>>;

/// What a start has done so far, and how to take each of it back.
#[derive(Default)]
pub struct Undo(Vec<(String, Revert)>);

impl Undo {
    /// Call it right after the deed, before the next line that can fail.
    pub fn did(&mut self, deed: impl Into<String>, revert: impl FnOnce() -> Result<(), Failure> + 'static) {
        self.0.push((deed.into(), Box::new(revert)));
    }

    /// Newest first and past failures; what became of each deed goes into the report.
    pub fn take_back(&mut self) -> Vec<(String, Result<(), Failure>)> {
        self.0.drain(..).rev().map(|(deed, revert)| (deed, revert())).collect()
    }

    /// The guest stands: from here on `stop` works from its record.
    pub fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Undo {
    /// A panic, too, leaves nothing behind.
    fn drop(&mut self) {
        for (deed, result) in self.take_back() {
            if let Err(failure) = result {
                tracing::warn!(%deed, %failure, "could not be taken back");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[test]
    fn taken_back_newest_first_and_past_failures() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let mut undo = Undo::default();
        for number in 1..=3 {
            let order = Rc::clone(&order);
            undo.did(format!("deed {number}"), move || {
                order.borrow_mut().push(number);
                if number == 2 { Err(Failure::new("stuck")) } else { Ok(()) }
            });
        }
        let report = undo.take_back();
        assert_eq!(*order.borrow(), [3, 2, 1]);
        assert!(report[0].1.is_ok() && report[1].1.is_err() && report[2].1.is_ok());
        drop(undo);
        assert_eq!(order.borrow().len(), 3, "nothing is taken back twice");
    }

    #[test]
    fn kept_deeds_stay() {
        let order = Rc::new(RefCell::new(0));
        let mut undo = Undo::default();
        let seen = Rc::clone(&order);
        undo.did("deed", move || {
            *seen.borrow_mut() += 1;
            Ok(())
        });
        undo.keep();
        assert_eq!(*order.borrow(), 0);
    }
}
