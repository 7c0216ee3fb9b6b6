//! Which category a resource type belongs to, and which types travel with the documents that point to them.

use chartmesh_json::Json;

use crate::Category;

/// The category of a resource, from its type and, for reports and observations, its own category codes.
pub(crate) fn category_of(resource_type: &str, json: &Json<'_>) -> Category {
    match resource_type {
        "Patient" | "RelatedPerson" | "Person" => Category::Identity,
        "AllergyIntolerance"
        | "AdverseEvent"
        | "Condition"
        | "DetectedIssue"
        | "Device"
        | "DeviceUseStatement"
        | "FamilyMemberHistory"
        | "Flag"
        | "Immunization"
        | "ImmunizationEvaluation"
        | "Medication"
        | "MedicationAdministration"
        | "MedicationDispense"
        | "MedicationRequest"
        | "MedicationStatement"
        | "Procedure"
        | "RiskAssessment" => Category::Summary,
        "Observation" | "DiagnosticReport" => {
            if is_imaging(json) {
                Category::Imaging
            } else {
                Category::Results
            }
        }
        "BodyStructure" | "MolecularSequence" | "QuestionnaireResponse" | "Specimen" => Category::Results,
        "ImagingStudy" | "Media" => Category::Imaging,
        "Binary" | "ClinicalImpression" | "Communication" | "Composition" | "DocumentManifest" | "DocumentReference" | "List" => Category::Notes,
        "Appointment"
        | "AppointmentResponse"
        | "CarePlan"
        | "CareTeam"
        | "CommunicationRequest"
        | "DeviceRequest"
        | "Goal"
        | "ImmunizationRecommendation"
        | "NutritionOrder"
        | "RequestGroup"
        | "ServiceRequest"
        | "SupplyRequest"
        | "Task"
        | "VisionPrescription" => Category::Plans,
        _ => Category::Admin,
    }
}

/// Category codes that mean radiology or imaging, of `observation-category` and HL7 v2 table 0074.
fn is_imaging(json: &Json<'_>) -> bool {
    let codings = json.items_of("category").iter().flat_map(|category| category.items_of("coding"));
    codings.filter_map(|coding| coding.text_of("code")).any(|code| {
        matches!(code, "imaging" | "RAD" | "IMG" | "CT" | "CUS" | "EC" | "NMR" | "NMS" | "OUS" | "RUS" | "RX" | "VUS" | "XRC" | "LP29684-5" | "radiology")
    })
}

/// Types that say who, where and with what, and are copied into each document that points to them.
pub(crate) fn is_supporting(resource_type: &str) -> bool {
    matches!(resource_type, "Practitioner" | "PractitionerRole" | "Organization" | "Location" | "Medication")
}
