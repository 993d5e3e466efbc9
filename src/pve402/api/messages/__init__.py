"""Between values of the domain and the wire: what answers say, and what requests ask."""
