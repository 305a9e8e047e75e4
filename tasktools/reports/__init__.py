"""Reports of incidents: one HTML file each, made of frames and figures, without a notebook."""
