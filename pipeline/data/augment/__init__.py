"""Every random parameter of a sample, drawn from (seed, epoch, sample id). Pure, vectorised."""
