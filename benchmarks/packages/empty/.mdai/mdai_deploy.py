class MDAIModel:
    def predict(self, data):
        return [{"type": "NONE", "study_uid": "1.2"}]
