"""The screens: the main screen in `main`, and the screens opened from it in `dialogs`."""
