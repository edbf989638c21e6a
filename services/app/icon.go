package main

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"math"
)

// icons are the pictures that a device shows for the installed page, drawn at
// the start. A maskable one fills its square, for the device cuts its corners.
var icons = map[string]struct {
	size int
	fill bool
}{
	"/favicon.ico":                  {48, false}, // asked for by whoever shows a page without an icon: the blog's
	"/assets/icon-180.png":          {180, true}, // iOS puts transparent corners on black
	"/assets/icon-192.png":          {192, false},
	"/assets/icon-512.png":          {512, false},
	"/assets/icon-maskable-512.png": {512, true},
}

var (
	tomato = color.NRGBA{0xDF, 0x2E, 0x2E, 0xFF}
	leaf   = color.NRGBA{0x3B, 0xB5, 0x00, 0xFF}
	paper  = color.NRGBA{0xFF, 0xFF, 0xFF, 0xFF}
)

// drawIcon draws the tomato of icon.svg.
func drawIcon(size int, fill bool) ([]byte, error) {
	scale := 1.0
	if fill {
		scale = 0.72 // the outer tenth on each side may be cut off
	}
	img := image.NewNRGBA(image.Rect(0, 0, size, size))
	unit := float64(size) / 32 * scale // the drawing is 32 units wide
	for y := range size {
		for x := range size {
			px := (float64(x)+0.5-float64(size)/2)/unit + 16
			py := (float64(y)+0.5-float64(size)/2)/unit + 16
			var c color.NRGBA
			if fill {
				c = paper
			}
			c = over(c, tomato, covered(px-16, py-18, 12, unit))
			// A leaf is what two circles have in common; there is one to each side.
			if side := math.Abs(px - 16); py < 10 {
				c = over(c, leaf, min(covered(side-1, py-1.5, 7, unit), covered(side-7.2, py-9.8, 7, unit)))
			}
			i := img.PixOffset(x, y)
			img.Pix[i], img.Pix[i+1], img.Pix[i+2], img.Pix[i+3] = c.R, c.G, c.B, c.A
		}
	}
	var out bytes.Buffer
	err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&out, img)
	return out.Bytes(), err
}

// covered tells how much of a pixel at (x, y) lies in the circle of radius r
// around (0, 0), by its distance to the edge; unit is pixels per unit.
func covered(x, y, r, unit float64) float64 {
	switch square := x*x + y*y; {
	case square > (r+1/unit)*(r+1/unit):
		return 0
	case square < (r-1/unit)*(r-1/unit):
		return 1
	default:
		return min(max(0.5+unit*(r-math.Sqrt(square)), 0), 1)
	}
}

// over lays c over under, covering a part of it.
func over(under, c color.NRGBA, part float64) color.NRGBA {
	if part == 0 {
		return under
	}
	if part == 1 {
		return c
	}
	a := float64(under.A) / 255
	out := part + a*(1-part)
	mix := func(above, below uint8) uint8 {
		return uint8(math.Round((float64(above)*part + float64(below)*a*(1-part)) / out))
	}
	return color.NRGBA{mix(c.R, under.R), mix(c.G, under.G), mix(c.B, under.B), uint8(math.Round(out * 255))}
}
