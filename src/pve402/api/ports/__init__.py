"""Published ports: requests for names under the ports domain, carried into guests."""
