//! Puts the files of `configs/cls` into the program.

#[path = "../configs/embed.rs"]
mod embed;

fn main() -> std::io::Result<()> {
    embed::embed("cls")
}
