"""Figure 5: which key a picture is taken to hold."""
