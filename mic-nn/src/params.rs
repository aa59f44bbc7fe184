//! Ordered, named parameters and buffers.
//!
//! A [`Store`] owns the values; a [`Scope`] is a path into it that layers take their tensors from.
//! The same model type is built twice: over a trainable store (the student: every parameter is a
//! variable) and over a frozen copy (the teacher: the tensors record no graph).

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use parking_lot::Mutex;
use rand::RngCore;

use crate::init::{Init, from_name};
pub use crate::weights::LoadReport;
use crate::weights::{self, Reshaped, Weights};

/// A tensor of a layer that training updates but no gradient reaches, such as running statistics.
#[derive(Clone, Debug)]
pub struct Buffer(Arc<Mutex<Tensor>>);

impl Buffer {
    /// The current value.
    pub fn get(&self) -> Tensor {
        self.0.lock().clone()
    }

    /// Replaces the value; the shape is the caller's responsibility.
    pub fn set(&self, value: Tensor) {
        *self.0.lock() = value;
    }
}

enum Source {
    /// Declared parameters are created with values drawn from this generator.
    Fresh(Box<dyn RngCore + Send>),
    /// Declared parameters are looked up.
    Existing,
}

struct Inner {
    params: Vec<(String, Var)>,
    buffers: Vec<(String, Buffer)>,
    index: HashMap<String, usize>,
    buffer_index: HashMap<String, usize>,
    source: Source,
    trainable: bool,
    device: Device,
    dtype: DType,
}

/// The named parameters and buffers of one model, in the order in which its layers declare them.
#[derive(Clone)]
pub struct Store(Arc<Mutex<Inner>>);

impl Store {
    /// An empty store whose parameters become variables, initialised from `rng` in the order of
    /// their declaration.
    pub fn trainable(rng: impl RngCore + Send + 'static, dtype: DType, device: &Device) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            params: Vec::new(),
            buffers: Vec::new(),
            index: HashMap::new(),
            buffer_index: HashMap::new(),
            source: Source::Fresh(Box::new(rng)),
            trainable: true,
            device: device.clone(),
            dtype,
        })))
    }

    /// A store with a copy of every value, whose parameters record no graph. A model built over it
    /// finds its tensors by name and sees later in-place changes.
    pub fn frozen_copy(&self) -> Result<Self> {
        let inner = self.0.lock();
        let params = inner
            .params
            .iter()
            .map(|(name, var)| Ok((name.clone(), Var::from_tensor(&var.copy()?)?)))
            .collect::<Result<Vec<_>>>()?;
        let buffers = inner
            .buffers
            .iter()
            .map(|(name, b)| Ok((name.clone(), Buffer(Arc::new(Mutex::new(b.get().copy()?))))))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self(Arc::new(Mutex::new(Inner {
            params,
            buffers,
            index: inner.index.clone(),
            buffer_index: inner.buffer_index.clone(),
            source: Source::Existing,
            trainable: false,
            device: inner.device.clone(),
            dtype: inner.dtype,
        }))))
    }

    /// The root path.
    pub fn root(&self) -> Scope {
        Scope {
            store: self.clone(),
            path: String::new(),
        }
    }

    /// The variables in order.
    pub fn vars(&self) -> Vec<(String, Var)> {
        self.0.lock().params.clone()
    }

    /// The parameters in order, without a graph, sharing storage with the model's tensors.
    pub fn params(&self) -> Vec<(String, Tensor)> {
        let inner = self.0.lock();
        let detached = |(name, var): &(String, Var)| (name.clone(), var.as_detached_tensor());
        inner.params.iter().map(detached).collect()
    }

    /// The buffers in order.
    pub fn buffers(&self) -> Vec<(String, Buffer)> {
        self.0.lock().buffers.clone()
    }

    /// Parameters, then buffers: everything a checkpoint of the model needs.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = self.params();
        state.extend(self.buffers().into_iter().map(|(n, b)| (n, b.get())));
        state
    }

    /// Number of trainable scalars.
    pub fn parameter_count(&self) -> usize {
        let inner = self.0.lock();
        inner.params.iter().map(|(_, v)| v.elem_count()).sum()
    }

    /// Sets every floating-point parameter and buffer to
    /// [`init::from_name`](crate::init::from_name) of its name.
    ///
    /// # Errors
    /// When a value cannot be written.
    pub fn fill_from_names(&self) -> Result<()> {
        let inner = self.0.lock();
        let value = |name: &str, like: &Tensor| {
            Tensor::from_vec(from_name(name, like.shape()), like.shape(), &inner.device)?
                .to_dtype(like.dtype())
        };
        for (name, var) in &inner.params {
            var.set(&value(name, var)?)?;
        }
        for (name, buffer) in &inner.buffers {
            let current = buffer.get();
            if current.dtype().is_float() {
                buffer.set(value(name, &current)?);
            }
        }
        Ok(())
    }

    /// Copies values by name into the parameters and buffers, in place. Tensors of another shape
    /// are left out and reported; so is everything missing or unexpected.
    pub fn load(&self, values: &HashMap<String, Tensor>) -> Result<LoadReport> {
        Ok(self.load_weights(&Weights::from(values.clone()))?)
    }

    /// Does the same from a file, tensor by tensor.
    ///
    /// # Errors
    /// Names the file and the first tensor that cannot be read; tensors before it are loaded.
    pub fn load_weights(&self, weights: &Weights) -> weights::Result<LoadReport> {
        let inner = self.0.lock();
        let index = weights.index();
        let mut report = LoadReport::default();
        // The value for `name`, if the file has it in this shape.
        let mut take = |name: &str, like: &Tensor, same: fn(&[usize], &[usize]) -> bool| {
            let Some(&i) = index.get(name) else {
                if !name.ends_with("num_batches_tracked") {
                    report.missing.push(name.to_owned());
                }
                return Ok(None);
            };
            let file = weights.shape_at(i);
            if !same(&file, like.dims()) {
                report.reshaped.push(Reshaped {
                    name: name.to_owned(),
                    file,
                    model: like.dims().to_vec(),
                });
                return Ok(None);
            }
            report.matched += 1;
            weights.tensor_at(i).map(Some)
        };
        let failed = |name: &str, error: candle_core::Error| weights.failure(name, error);
        let adapt =
            |value: &Tensor, like: &Tensor| value.to_dtype(like.dtype())?.to_device(&inner.device);
        for (name, var) in &inner.params {
            if let Some(value) = take(name, var, |file, model| file == model)? {
                let set = adapt(&value, var).and_then(|value| var.set(&value));
                set.map_err(|error| failed(name, error))?;
            }
        }
        // Counters may be of shape [1] in one and scalars in the other.
        let same = |file: &[usize], model: &[usize]| {
            file == model || file.iter().chain(model).all(|&size| size == 1)
        };
        for (name, buffer) in &inner.buffers {
            let current = buffer.get();
            if let Some(value) = take(name, &current, same)? {
                let value = adapt(&value, &current)
                    .and_then(|value| value.reshape(current.shape())?.copy());
                buffer.set(value.map_err(|error| failed(name, error))?);
            }
        }
        let known =
            |name: &str| inner.index.contains_key(name) || inner.buffer_index.contains_key(name);
        let unexpected = weights.names().filter(|name| !known(name));
        report.unexpected = unexpected.map(str::to_owned).collect();
        report.unexpected.sort();
        Ok(report)
    }
}

/// A path into a [`Store`].
#[derive(Clone)]
pub struct Scope {
    store: Store,
    path: String,
}

impl Scope {
    /// The scope `name` below this one.
    pub fn sub(&self, name: impl std::fmt::Display) -> Self {
        Self {
            store: self.store.clone(),
            path: self.join(&name.to_string()),
        }
    }

    /// The full path, dots between the parts.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn join(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_string()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Declares the parameter `name`. A trainable store draws its value and returns a variable's
    /// tensor; a frozen copy returns the tensor of that name.
    ///
    /// # Errors
    /// A name declared twice; in a frozen store a missing name or another shape.
    pub fn param(&self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Tensor> {
        let (name, shape) = (self.join(name), shape.into());
        let mut inner = self.store.0.lock();
        let found = inner.index.get(&name).copied();
        if let Source::Fresh(rng) = &mut inner.source {
            if found.is_some() {
                candle_core::bail!("parameter {name} is declared twice")
            }
            let values = init.sample(&shape, rng.as_mut());
            let value = Tensor::from_vec(values, shape, &inner.device)?.to_dtype(inner.dtype)?;
            let var = Var::from_tensor(&value)?;
            let tensor = var.as_tensor().clone();
            let position = inner.params.len();
            inner.index.insert(name.clone(), position);
            inner.params.push((name, var));
            return Ok(tensor);
        }
        let Some(position) = found else {
            candle_core::bail!("parameter {name} is not in the store")
        };
        let var = &inner.params[position].1;
        if var.shape() != &shape {
            candle_core::bail!(
                "parameter {name}: shape {:?}, expected {shape:?}",
                var.shape()
            )
        }
        Ok(if inner.trainable {
            var.as_tensor().clone()
        } else {
            var.as_detached_tensor()
        })
    }

    /// Declares the buffer `name` with a first value; a frozen copy returns its own.
    pub fn buffer(&self, name: &str, value: Tensor) -> Result<Buffer> {
        let name = self.join(name);
        let mut inner = self.store.0.lock();
        if let Some(&position) = inner.buffer_index.get(&name) {
            if matches!(inner.source, Source::Fresh(_)) {
                candle_core::bail!("buffer {name} is declared twice")
            }
            return Ok(inner.buffers[position].1.clone());
        }
        if matches!(inner.source, Source::Existing) {
            candle_core::bail!("buffer {name} is not in the store")
        }
        let value = if value.dtype().is_float() {
            value.to_dtype(inner.dtype)?.to_device(&inner.device)?
        } else {
            value.to_device(&inner.device)?
        };
        let buffer = Buffer(Arc::new(Mutex::new(value)));
        let position = inner.buffers.len();
        inner.buffer_index.insert(name.clone(), position);
        inner.buffers.push((name, buffer.clone()));
        Ok(buffer)
    }
}
