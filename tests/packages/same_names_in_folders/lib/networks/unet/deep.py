PLACE = "lib/networks/unet"
