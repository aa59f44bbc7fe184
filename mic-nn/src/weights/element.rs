//! Element types of files and their tensors.

use candle_core::{DType, Device, Tensor};

use super::error::{Parse, refuse};

/// An element type that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl Element {
    /// By the name of a torch storage class without `Storage`, of a torch dtype, or of an element
    /// type of a safetensors header.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "Double" | "float64" | "double" | "F64" => Self::F64,
            "Float" | "float32" | "float" | "F32" => Self::F32,
            "Half" | "float16" | "half" | "F16" => Self::F16,
            "BFloat16" | "bfloat16" | "BF16" => Self::Bf16,
            "Long" | "int64" | "long" | "I64" => Self::I64,
            "Int" | "int32" | "int" | "I32" => Self::I32,
            "Short" | "int16" | "short" | "I16" => Self::I16,
            "Char" | "int8" | "I8" => Self::I8,
            "uint64" | "U64" => Self::U64,
            "uint32" | "U32" => Self::U32,
            "uint16" | "U16" => Self::U16,
            "Byte" | "uint8" | "U8" => Self::U8,
            "Bool" | "bool" | "BOOL" => Self::Bool,
            _ => return None,
        })
    }

    /// By a numpy type string without its byte order, such as `f4`.
    pub(super) fn by_numpy_code(code: &str) -> Option<Self> {
        Some(match code {
            "f8" => Self::F64,
            "f4" => Self::F32,
            "f2" => Self::F16,
            "i8" => Self::I64,
            "i4" => Self::I32,
            "i2" => Self::I16,
            "i1" => Self::I8,
            "u8" => Self::U64,
            "u4" => Self::U32,
            "u2" => Self::U16,
            "u1" => Self::U8,
            "b1" => Self::Bool,
            _ => return None,
        })
    }

    /// Bytes of one element.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The type of the tensor: candle's own where it has one on every device, else the smallest
    /// that holds every value.
    pub(super) fn dtype(self) -> DType {
        match self {
            Self::F64 => DType::F64,
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
            Self::I64 | Self::I32 | Self::I16 | Self::I8 | Self::U64 | Self::U16 => DType::I64,
            Self::U32 => DType::U32,
            Self::U8 | Self::Bool => DType::U8,
        }
    }

    /// The tensor of little-endian bytes in row-major order.
    pub(super) fn tensor(self, bytes: &[u8], shape: &[usize]) -> Parse<Tensor> {
        let integers = match self {
            Self::I32 => widen(bytes, |b| i64::from(i32::from_le_bytes(b))),
            Self::I16 => widen(bytes, |b| i64::from(i16::from_le_bytes(b))),
            Self::I8 => widen(bytes, |b| i64::from(i8::from_le_bytes(b))),
            Self::U16 => widen(bytes, |b| i64::from(u16::from_le_bytes(b))),
            Self::U64 => {
                let integers = widen(bytes, i64::from_le_bytes);
                if integers.iter().any(|&v| v < 0) {
                    refuse!("an unsigned 64-bit value is above 2^63 - 1, the largest that is read")
                }
                integers
            }
            Self::Bool if bytes.iter().any(|&b| b > 1) => {
                refuse!("a boolean is neither 0 nor 1: the file is damaged")
            }
            _ => {
                let (dtype, cpu) = (self.dtype(), &Device::Cpu);
                return Ok(Tensor::from_raw_buffer(bytes, dtype, shape, cpu)?);
            }
        };
        Ok(Tensor::from_vec(integers, shape, &Device::Cpu)?)
    }
}

fn widen<const N: usize>(bytes: &[u8], from: impl Fn([u8; N]) -> i64) -> Vec<i64> {
    bytes.as_chunks::<N>().0.iter().map(|&b| from(b)).collect()
}
