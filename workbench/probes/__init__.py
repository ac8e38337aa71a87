"""Does a trained model compute what each example would give alone?"""
