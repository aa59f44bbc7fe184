//! Outlines of the pixels of an instance.

/// Which pixels belong to an instance, inside its tight box.
pub(super) struct Mask {
    width: usize,
    height: usize,
    /// With a margin of one pixel on all sides.
    inside: Vec<bool>,
}

impl Mask {
    /// A mask of `width` x `height` pixels.
    pub(super) fn new(width: usize, height: usize, inside: impl Fn(usize, usize) -> bool) -> Self {
        let stride = width + 2;
        let mut mask = vec![false; stride * (height + 2)];
        for y in 0..height {
            for x in 0..width {
                mask[(y + 1) * stride + x + 1] = inside(x, y);
            }
        }
        Self {
            width,
            height,
            inside: mask,
        }
    }

    fn stride(&self) -> usize {
        self.width + 2
    }

    /// The outlines `[(x, y)]` of the parts that no other part encloses, each the boundary pixels
    /// counter-clockwise from its first pixel; parts are connected by sides and corners, holes by
    /// sides. The last part comes first. These are the external contours of OpenCV's
    /// `findContours` without approximation.
    pub(super) fn outlines(&self) -> Vec<Vec<(u32, u32)>> {
        let outside = self.outside();
        let mut seen = vec![false; self.inside.len()];
        let mut outlines = Vec::new();
        for y in 1..=self.height {
            for x in 1..=self.width {
                let start = y * self.stride() + x;
                if !self.inside[start] || seen[start] {
                    continue;
                }
                // The first pixel of a part in reading order has its surrounding to the left.
                self.mark_part(start, &mut seen);
                if outside[start - 1] {
                    outlines.push(self.follow(start));
                }
            }
        }
        outlines.reverse();
        outlines
    }

    /// Pixels off the instance that are connected with the margin.
    fn outside(&self) -> Vec<bool> {
        let stride = self.stride();
        let mut outside = vec![false; self.inside.len()];
        let mut open = vec![0];
        outside[0] = true;
        while let Some(at) = open.pop() {
            let (x, y) = (at % stride, at / stride);
            let mut visit = |next: usize| {
                if !self.inside[next] && !outside[next] {
                    outside[next] = true;
                    open.push(next);
                }
            };
            if x > 0 {
                visit(at - 1);
            }
            if x + 1 < stride {
                visit(at + 1);
            }
            if y > 0 {
                visit(at - stride);
            }
            if y < self.height + 1 {
                visit(at + stride);
            }
        }
        outside
    }

    fn mark_part(&self, start: usize, seen: &mut [bool]) {
        let mut open = vec![start];
        seen[start] = true;
        while let Some(at) = open.pop() {
            for direction in 0..8 {
                let next = self.step(at, direction);
                if self.inside[next] && !seen[next] {
                    seen[next] = true;
                    open.push(next);
                }
            }
        }
    }

    /// The neighbour in a direction; 0 is to the right, and they turn counter-clockwise.
    fn step(&self, at: usize, direction: usize) -> usize {
        let stride = self.stride() as isize;
        let offsets = [
            1,
            1 - stride,
            -stride,
            -stride - 1,
            -1,
            stride - 1,
            stride,
            stride + 1,
        ];
        at.wrapping_add_signed(offsets[direction % 8])
    }

    /// Border following after Suzuki and Abe (1985), algorithm 1, step 3, for an outer border.
    fn follow(&self, start: usize) -> Vec<(u32, u32)> {
        let stride = self.stride();
        let point = |at: usize| ((at % stride - 1) as u32, (at / stride - 1) as u32);
        // Clockwise from the left.
        let turned = (0..8).map(|turn| (4 + 8 - turn) % 8);
        let mut turned = turned.filter(|direction| self.inside[self.step(start, *direction)]);
        let Some(first) = turned.next() else {
            return vec![point(start)];
        };
        let last = self.step(start, first);
        let mut outline = Vec::new();
        let (mut at, mut back) = (start, first);
        loop {
            outline.push(point(at));
            let around = (1..=8).map(|turn| (back + turn) % 8);
            let mut around = around.filter(|direction| self.inside[self.step(at, *direction)]);
            // The pixel it came from is always found.
            let direction = around.next().unwrap_or(back);
            let next = self.step(at, direction);
            if next == start && at == last {
                return outline;
            }
            back = (direction + 4) % 8;
            at = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlines(lines: &[&str]) -> Vec<Vec<(u32, u32)>> {
        let pixels: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        Mask::new(pixels[0].len(), lines.len(), |x, y| pixels[y][x] == b'#').outlines()
    }

    #[test]
    fn outlines_turn_counter_clockwise_and_the_last_part_is_first() {
        let found = outlines(&["##..", "##.#", "....", "#..."]);
        let square = vec![(0, 0), (0, 1), (1, 1), (1, 0)];
        assert_eq!(found, [vec![(0, 3)], vec![(3, 1)], square]);
        // A line is passed on both sides.
        assert_eq!(
            outlines(&["#", "#", "#"]),
            [[(0, 0), (0, 1), (0, 2), (0, 1)]]
        );
        assert_eq!(outlines(&["##"]), [[(0, 0), (1, 0)]]);
    }

    #[test]
    fn parts_inside_a_hole_are_passed_over() {
        let found = outlines(&["#####", "#...#", "#.#.#", "#...#", "#####"]);
        assert_eq!((found.len(), found[0].len()), (1, 16));
        // A hole that is open at a side is none; one open at a corner is.
        assert_eq!(
            outlines(&["#####", "#...#", "#.#..", "#...#", "#####"]).len(),
            2
        );
        assert_eq!(
            outlines(&["#####", "#...#", "#.#.#", "#...#", "####."]).len(),
            1
        );
    }
}
