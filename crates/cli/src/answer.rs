//! From the API's answer to the one that a command waits for.

use chartmesh_node::api::{
    ApiError, AuditInfo, CardInfo, DoctorInfo, ExportInfo, GrantInfo, ImportInfo, LogInfo, PeerInfo, PreviewInfo, RecordInfo, Response, ShownInfo, StatusInfo,
    SyncInfo, VerifyInfo,
};

/// What a command may wait for.
pub(crate) trait Answer: Sized {
    /// The answer, if it is this one.
    fn of(response: Response) -> Option<Self>;
}

macro_rules! answers {
    ($($variant:ident: $type:ty;)*) => {$(
        impl Answer for $type {
            fn of(response: Response) -> Option<Self> {
                match response {
                    Response::$variant(answer) => Some(answer),
                    _ => None,
                }
            }
        }
    )*};
}

answers! {
    Card: CardInfo;
    Peer: PeerInfo;
    Imported: ImportInfo;
    Preview: PreviewInfo;
    Grant: GrantInfo;
    Verified: VerifyInfo;
    Synced: SyncInfo;
    Status: StatusInfo;
    Doctor: DoctorInfo;
    Exported: ExportInfo;
    Shown: ShownInfo;
    Bytes: Vec<u8>;
    Peers: Vec<PeerInfo>;
    Records: Vec<RecordInfo>;
    Grants: Vec<GrantInfo>;
    Log: Vec<LogInfo>;
    Audit: Vec<AuditInfo>;
}

/// The answer that the command waits for.
pub(crate) fn expect<T: Answer>(response: Response) -> Result<T, ApiError> {
    T::of(response).ok_or_else(|| {
        ApiError::failed("the node's answer does not fit the question").advise("stop the running node and start it with this version of the program")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_expected_answer_is_taken() {
        assert_eq!(expect::<Vec<RecordInfo>>(Response::Records(Vec::new())), Ok(Vec::new()));
        assert!(expect::<Vec<RecordInfo>>(Response::Peers(Vec::new())).is_err());
        assert_eq!(expect::<Vec<u8>>(Response::Bytes(vec![1])), Ok(vec![1]));
    }
}
