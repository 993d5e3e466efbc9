"""The pure concepts of the product: lease, order, catalogue, price, placement, errors. No I/O."""
