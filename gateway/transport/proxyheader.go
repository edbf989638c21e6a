package transport

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// signature begins a PROXY header of version 2
// (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, 2.2).
const signature = "\r\n\r\n\x00\r\nQUIT\n"

// OwnProxyHeader says that a connection speaks for itself, as one of a health
// check does; empty for version 0, which is no PROXY protocol.
func OwnProxyHeader(version int) string {
	if version == 0 {
		return ""
	}
	return string(proxyHeader(version, netip.AddrPort{}, netip.AddrPort{}))
}

// proxyHeader says who connected to whom. Without a valid pair of one family it
// says that this is not known.
func proxyHeader(version int, from, to netip.AddrPort) []byte {
	source, target := from.Addr().Unmap(), to.Addr().Unmap()
	if source.IsValid() && target.IsValid() && source.Is4() != target.Is4() {
		source, target = netip.AddrFrom16(source.As16()), netip.AddrFrom16(target.As16())
	}
	known := source.IsValid() && target.IsValid()
	if version == 1 {
		switch {
		case !known:
			return []byte("PROXY UNKNOWN\r\n")
		case source.Is4():
			return fmt.Appendf(nil, "PROXY TCP4 %s %s %d %d\r\n", source, target, from.Port(), to.Port())
		}
		return fmt.Appendf(nil, "PROXY TCP6 %s %s %d %d\r\n", source.WithZone(""), target.WithZone(""), from.Port(), to.Port())
	}
	b := []byte(signature)
	if !known {
		return append(b, 0x20, 0, 0, 0) // LOCAL: the connection speaks for itself
	}
	family := byte(0x21) // TCP over IPv6
	if source.Is4() {
		family = 0x11
	}
	addresses := append(source.AsSlice(), target.AsSlice()...)
	addresses = binary.BigEndian.AppendUint16(addresses, from.Port())
	addresses = binary.BigEndian.AppendUint16(addresses, to.Port())
	b = append(b, 0x21, family) // version 2, PROXY
	b = binary.BigEndian.AppendUint16(b, uint16(len(addresses)))
	return append(b, addresses...)
}
